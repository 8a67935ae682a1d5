"""One room per DVC stage, named as in dvc.yaml."""
