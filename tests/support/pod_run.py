"""A whole pod without a cluster: stager, agent and shim as processes of this machine, over folders of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from support.attempts import until
from support.pod_shim import ShimRun
from support.pods import PodAttempt


class PodRun:
    """One rank's pod: `stage`, then `start` for agent and job, as a kubelet does."""

    def __init__(self, shim: Path, attempt: PodAttempt, url: str, folder: Path, rank: int = 0) -> None:
        self.attempt, self.rank, self.work = attempt, rank, folder / "work"
        self.work.mkdir(parents=True)
        self._url = url
        self._environment = {
            "PATH": os.environ["PATH"],
            "NORDAN_POD_TOKEN": attempt.token,
            "NORDAN_POD_CONTROL_DIR": str(folder / "control"),
            "NORDAN_POD_WORK_DIR": str(self.work),
            "NORDAN_POD_SHIM": str(shim),
        }
        self.job = ShimRun(shim, folder, log_dir=self.work / "log")
        self.agent: subprocess.Popen[bytes] | None = None
        self.said = (folder / "agent.err").open("wb")

    def stage(self, timeout_s: float = 30) -> int:
        """Run the stager to its end."""
        argv = self._argv("stage", self._url)
        return subprocess.run(argv, env=self._environment, timeout=timeout_s, check=False, stderr=self.said).returncode

    def start_agent(self, url: str | None = None) -> None:
        argv = self._argv("agent", url or self._url)
        self.agent = subprocess.Popen(argv, env=self._environment, stderr=self.said)

    def start_job(self, command: Sequence[str], *options: str) -> None:
        env = {
            "NORDAN_INPUT_DIR": str(self.work / "inputs"),
            "NORDAN_CHECKPOINT_DIR": str(self.work / "checkpoints"),
            "NORDAN_OUTPUT_DIR": str(self.work / "outputs"),
        }
        self.job.start(command, *options, env=env, cwd=self.work / "rank")

    def run(self, command: Sequence[str], *options: str) -> None:
        """Stage, then start agent and job."""
        assert self.stage() == 0
        self.start_agent()
        self.start_job(command, *options)

    def python(self, script: str, *options: str) -> None:
        """Run a job of these lines."""
        head = "import os, sys, time, signal\nfrom pathlib import Path\n"
        head += "names = ('CHECKPOINT', 'OUTPUT', 'INPUT')\n"
        head += "checkpoints, outputs, inputs = (Path(os.environ[f'NORDAN_{one}_DIR']) for one in names)\n"
        self.run([sys.executable, "-c", head + script], *options)

    def kill_agent(self) -> None:
        assert self.agent is not None
        self.agent.kill()
        self.agent.wait(10)

    def end(self) -> int:
        """Do as the kubelet does when the job's container has ended; return the job's exit code."""
        code = self.job.wait(40)
        assert self.agent is not None
        self.agent.terminate()
        assert self.agent.wait(20) == 0
        return code

    def wait_for_log(self, text: bytes) -> None:
        until(lambda: text in self.attempt.log(self.rank), f"the region has {text!r}")

    def clean_up(self) -> None:
        if self.agent is not None and self.agent.poll() is None:
            self.agent.kill()
            self.agent.wait(10)
        self.job.clean_up()
        self.said.close()

    def _argv(self, program: str, url: str) -> list[str]:
        return [sys.executable, "-m", "nordan_workers.pod", program, url, self.attempt.id, str(self.rank)]
