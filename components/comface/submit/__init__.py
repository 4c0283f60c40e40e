"""Submit: start runs of the compiled pipeline on a Kubeflow Pipelines (KFP) server, and keep recurring ones."""
