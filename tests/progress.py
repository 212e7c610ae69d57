"""The progress of builds in tests: remembers what it was told, and may stop the build."""

__all__ = ["Stops"]


class Stops:
    """A progress that stops the build where it is told to, as Ctrl-C would."""

    def __init__(self, stage: str = "", after: str = "") -> None:
        self.stage, self.after, self.resumed, self.messages = stage, after, 0, list[str]()

    def message(self, text: str) -> None:
        self.messages.append(text)

    def stage_started(self, stage: str, jobs: int, weight: int) -> None:
        if (stage, self.after) == (self.stage, "start"):
            raise KeyboardInterrupt

    def job_done(self, stage: str, weight: int, records: int, resumed: bool) -> None:
        self.resumed += resumed
        if (stage, self.after) == (self.stage, "job"):
            raise KeyboardInterrupt

    def stage_ended(self, stage: str, seconds: float) -> None:
        pass
