"""What all tests share."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from building import run
from corpora import write_corpus
from faults import cluster
from hypothesis import settings
from object_store import BUCKET, running_s3
from synthetic import write_build

from glmdata.pipelines.build import Built

# A kernel is compiled inside the first example that calls it: a deadline would measure the compiler.
settings.register_profile("glmdata", deadline=None)
settings.load_profile("glmdata")


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small corpus of corpora.py."""
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder)
    return folder


@pytest.fixture(scope="session")
def built(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A quiet build of it, which no test changes."""
    return run(corpus, tmp_path_factory.mktemp("built") / "out")


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up build of 100 rows in three shards, which no test changes."""
    folder = tmp_path_factory.mktemp("made-up") / "build"
    write_build(folder)
    return folder


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tasks to be tuned on, whose answers are easy to learn, and a model that knows nothing yet; no test changes it."""
    from tuning import write_world  # imports PyTorch

    return write_world(tmp_path_factory.mktemp("tune"))


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of a store that is empty for each file of tests."""
    yield from running_s3()


@pytest.fixture
def prefix(s3: str, request: pytest.FixtureRequest) -> str:
    """A place of the test's own in it."""
    return f"s3://{BUCKET}/{re.sub(r'[^a-z0-9]+', '-', request.node.name)}"


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[str]:
    """The address of a Ray cluster of two processors for all whose builds only ask for Ray."""
    with cluster(1, num_cpus=2) as made:
        yield made.address


@pytest.fixture
def address(request: pytest.FixtureRequest) -> str:
    """An engine by name: `ray` is that cluster, any other what --address takes."""
    return request.getfixturevalue("ray_cluster") if request.param == "ray" else request.param
