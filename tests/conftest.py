"""What all tests share."""

from hypothesis import settings

# A kernel is compiled inside the first example that calls it: a deadline would measure the compiler.
settings.register_profile("glmdata", deadline=None)
settings.load_profile("glmdata")
