"""The package of one released model: everything an auditor needs in one folder, checkable without the repository."""
