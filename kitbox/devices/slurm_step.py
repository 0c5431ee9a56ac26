"""The processes of a SLURM step, as lightning-fabric wants to know them."""

import os
import socket
import time

from lightning_fabric.plugins.environments.slurm import SLURMEnvironment

from kitbox.errors import KitboxError

_PORTS = range(15000, 25000)
# How long processes wait for the first one: the others of a step have imported torch by then too.
_SECONDS = 600


class SlurmStep(SLURMEnvironment):
    """The processes that one srun has started, which meet at the first machine of their step.

    lightning-fabric lets them meet at the first machine of the job, at a port of the job's number.
    A step may run on other machines than the first, and beside other steps.
    """

    @property
    def main_address(self) -> str:
        """The host name of the machine that has the first process; MASTER_ADDR where it is set."""
        nodes = os.environ.get("SLURM_STEP_NODELIST", os.environ.get("SLURM_NODELIST", "127.0.0.1"))
        return os.environ.setdefault("MASTER_ADDR", self.resolve_root_node_address(nodes))

    @property
    def main_port(self) -> int:
        """The port of this step there; MASTER_PORT where it is set."""
        job, step = (int(os.environ.get(f"SLURM_{name}_ID", "0")) for name in ("JOB", "STEP"))
        port = _PORTS[(10 * job + step) % len(_PORTS)]  # steps of jobs that follow each other
        return int(os.environ.setdefault("MASTER_PORT", str(port)))

    def wait_for_first(self, seconds: float = _SECONDS) -> None:
        """Wait until the first process listens; torch waits for it as long as for everything.

        Raises KitboxError for an address that cannot be found, and where nobody listens in time.
        """
        place, until = (self.main_address, self.main_port), time.monotonic() + seconds
        while self.global_rank() > 0:
            try:
                socket.create_connection(place, timeout=10).close()
            except socket.gaierror as error:
                raise KitboxError(
                    f"{place[0]}, the first machine of this SLURM step, has no address here",
                    fix="set MASTER_ADDR to an address of it in the script",
                ) from error
            except OSError as error:
                if time.monotonic() > until:
                    raise KitboxError(
                        f"the first process does not answer at {place[0]}, port {place[1]}",
                        fix="look for its error, or set MASTER_ADDR and MASTER_PORT to an address "
                        "of its machine and a port that may be reached",
                    ) from error
                time.sleep(0.5)
            else:
                return

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        """Do nothing: the numbers are those of the step."""

    @staticmethod
    def _validate_srun_used() -> None:
        """Do nothing: it warns of srun in a job called 'interactive', as that of salloc is."""
