"""The stages of a build and the engine that runs them, in process or on Ray."""

if __name__ == "pipelines":
    raise ImportError("import glmdata.pipelines: the folder pipelines/ is reached through the package glmdata")
