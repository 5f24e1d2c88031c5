import pytest

from bleep_sc.training.processes.shares import require_meeting, step

SLURM = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_STEP_NUM_TASKS")


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", *SLURM):
        monkeypatch.delenv(name, raising=False)
    return lambda **values: [monkeypatch.setenv(name, str(value)) for name, value in values.items()]


def test_a_process_may_be_alone():
    assert step() == (0, 1)


def test_processes_of_torchrun_know_each_other(environment):
    environment(RANK=2, WORLD_SIZE=4)
    assert step() == (2, 4)
    require_meeting()


def test_processes_of_srun_do_not_and_a_batch_script_is_alone(environment):
    environment(SLURM_PROCID=0, SLURM_NTASKS=4)
    assert step() == (0, 1)
    require_meeting()
    environment(SLURM_PROCID=3, SLURM_STEP_NUM_TASKS=4)
    assert step() == (3, 4)
    with pytest.raises(ValueError, match="srun started 4 processes, which cannot find each other"):
        require_meeting()
    environment(MASTER_ADDR="127.0.0.1", MASTER_PORT=29500)
    require_meeting()
