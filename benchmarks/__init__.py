"""What is measured; each module prints one table and writes its figures."""
