"""The errors a user of glmdata can meet.

GlmdataError
|-- ConfigError           a recipe, option or argument cannot be used
|-- InputError            a corpus, tokenizer or other input file cannot be used
|-- StorageError          a file cannot be written or read: no room, no permission, gone
|-- BuildExistsError      the output folder holds another build, or something that is not a build
|-- BuildRunningError     another process is building into the same folder
|-- TaskFailedError       a piece of work failed in spite of retries
|-- ClusterError          the Ray cluster cannot be reached or was lost
|-- TrainingError         a training run cannot go on
|-- DocumentNotFoundError no record of a build has this name, or several have
`-- ShardError            a finished build cannot be read as one
    |-- ShardCorruptError         bytes differ from what the manifest says
    `-- FingerprintMismatchError  a state belongs to another dataset

Messages say what happened, where, and what to do; the command line prints them without a traceback.
"""

__all__ = [
    "BuildExistsError",
    "BuildRunningError",
    "ClusterError",
    "ConfigError",
    "DocumentNotFoundError",
    "FingerprintMismatchError",
    "GlmdataError",
    "InputError",
    "ShardCorruptError",
    "ShardError",
    "StorageError",
    "TaskFailedError",
    "TrainingError",
]


class GlmdataError(Exception):
    """Base of all errors meant for the user."""


class ConfigError(GlmdataError, ValueError):
    """A recipe, option or argument cannot be used."""


class InputError(GlmdataError, ValueError):
    """A corpus, tokenizer or other input file cannot be used."""


class StorageError(GlmdataError, OSError):
    """A file cannot be written or read."""


class BuildExistsError(GlmdataError):
    """The output folder holds another build, or something that is not a build."""


class BuildRunningError(GlmdataError):
    """Another process is building into the same folder."""


class TaskFailedError(GlmdataError):
    """A piece of work failed in spite of retries."""


class ClusterError(GlmdataError):
    """The Ray cluster cannot be reached or was lost."""


class TrainingError(GlmdataError):
    """A training run cannot go on."""


class DocumentNotFoundError(GlmdataError, LookupError):
    """No record of a build has this name, or several have."""


class ShardError(GlmdataError):
    """A finished build cannot be read as one."""


class ShardCorruptError(ShardError):
    """The bytes of a build differ from what its manifest says."""


class FingerprintMismatchError(ShardError):
    """A saved state belongs to another dataset."""
