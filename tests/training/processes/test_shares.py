import pytest

from bleep_sc.training.processes.shares import share, step

SLURM = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_STEP_NUM_TASKS")
ARRAY = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX")


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", *SLURM, *ARRAY):
        monkeypatch.delenv(name, raising=False)
    return lambda **values: [monkeypatch.setenv(name, str(value)) for name, value in values.items()]


def array(environment, task, count, least, most):
    environment(**dict(zip(ARRAY, (task, count, least, most), strict=True)))


def test_a_process_alone_has_all_of_it():
    assert share() == step() == (0, 1)


def test_processes_of_torchrun_have_a_share_each(environment):
    environment(RANK=2, WORLD_SIZE=4)
    assert share() == step() == (2, 4)


def test_processes_of_srun_do_and_a_batch_script_is_alone(environment):
    environment(SLURM_PROCID=0, SLURM_NTASKS=4)
    assert share() == (0, 1)
    environment(SLURM_PROCID=3, SLURM_STEP_NUM_TASKS=4)
    assert share() == step() == (3, 4)


@pytest.mark.parametrize(("least", "most", "count"), [(0, 4, 5), (1, 5, 5), (10, 30, 3), (3, 7, 2), (6, 6, 1)])
def test_tasks_of_a_job_array_have_a_share_each(environment, least, most, count):
    shares = []
    for task in range(least, most + 1, max(1, (most - least) // max(1, count - 1))):
        array(environment, task, count, least, most)
        shares.append(share())
    assert shares == [(i, count) for i in range(count)]
    assert step() == (0, 1)


def test_processes_in_the_tasks_of_an_array_share_a_share(environment):
    shares = []
    for task in (1, 2, 3):
        for rank in (0, 1):
            array(environment, task, 3, 1, 3)
            environment(RANK=rank, WORLD_SIZE=2)
            shares.append(share())
    assert shares == [(i, 6) for i in range(6)]


def test_tasks_that_are_numbered_unevenly_are_refused(environment):
    array(environment, 3, 3, 1, 7)
    with pytest.raises(ValueError, match=r"Task 3 .* numbered unevenly\. Submit it with --array=0-2"):
        share()
