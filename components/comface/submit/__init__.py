"""Submit: start runs of the compiled pipeline on a Kubeflow Pipelines (KFP) server, once or on a schedule."""
