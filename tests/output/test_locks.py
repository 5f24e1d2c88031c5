import os
import signal
import subprocess
import sys
import threading

import pytest

from bleep_sc._output import locks
from bleep_sc._output.locks import held

HOLDS = """
import sys, time
from pathlib import Path
from bleep_sc._output.locks import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def holder(tmp_path):
    """Another process that holds a path."""
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path / "store")], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def take(path):
    with held(path):
        pass


def test_who_holds_a_path_is_named(tmp_path, holder):
    with pytest.raises(
        FileExistsError, match=rf"store' is being written by process {holder.pid} on .*\. Wait until it is through, or"
    ):
        take(tmp_path / "store")
    with pytest.raises(FileExistsError, match="is being written"):
        take(tmp_path / "folder" / ".." / "store")
    take(tmp_path / "another")


def test_what_a_killed_process_held_is_free(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert names(tmp_path) == [".bleep_sc-store.lock"]
    take(tmp_path / "store")
    assert names(tmp_path) == []


def test_a_process_does_not_take_a_path_twice(tmp_path):
    with (
        held(tmp_path / "store"),
        pytest.raises(FileExistsError, match=f"by process {os.getpid()} on"),
    ):
        take(tmp_path / "store")
    take(tmp_path / "store")


def test_processes_that_are_forked_do_not_hold_what_they_inherit(tmp_path):
    """As those that read ahead: they live on for a while when the one that started them is killed."""
    source = HOLDS.replace("print(", "import os; os.fork() and print(")
    command = [sys.executable, "-c", source, str(tmp_path / "store")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            assert process.stdout.readline() == b"held\n"
            os.kill(process.pid, signal.SIGKILL)
            os.waitpid(process.pid, 0)
            take(tmp_path / "store")
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def test_of_many_that_take_turns_one_holds_it_at_a_time(tmp_path):
    """Although a lock is removed with its holder."""
    source = """
import sys
from pathlib import Path
from bleep_sc._output.locks import held
path, shared, n = Path(sys.argv[1]), Path(sys.argv[2]), 0
while n < 50:
    try:
        with held(path):
            shared.write_text(str(int(shared.read_text()) + 1))
            n += 1
    except FileExistsError:
        pass
"""
    (tmp_path / "count").write_text("0")
    command = [sys.executable, "-c", source, str(tmp_path / "store"), str(tmp_path / "count")]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert (tmp_path / "count").read_text() == "150"
    assert names(tmp_path) == ["count"]


def test_a_file_system_without_locks_has_none(tmp_path, monkeypatch):
    def unsupported(file, how):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.lockf", unsupported)
    with held(tmp_path / "store"):
        pass


def test_threads_are_told_apart(tmp_path):
    said = []

    def work():
        try:
            take(tmp_path / "store")
        except FileExistsError as error:
            said.append(error)

    with held(tmp_path / "store"):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert len(said) == 1


def test_of_threads_that_come_at_once_one_holds_it(tmp_path, monkeypatch):
    """Although the system gives a process its own locks again."""
    inside, most, refused, all_came, take_at_once = [], [], [], threading.Barrier(4), locks.take

    def take_late(file, **how):
        done.wait(0.05)
        take_at_once(file, **how)

    def work():
        all_came.wait()
        try:
            with held(tmp_path / "store"):
                inside.append(1)
                most.append(len(inside))
                done.wait(0.05)
                inside.pop()
        except FileExistsError:
            refused.append(1)

    done = threading.Event()  # which never comes
    monkeypatch.setattr(locks, "take", take_late)
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert len(refused) == 3
    assert names(tmp_path) == []


def test_a_path_that_could_not_be_taken_is_free_afterwards(tmp_path):
    (tmp_path / "file").write_text("")
    for _ in range(2):
        with pytest.raises(OSError, match=r"file") as error:
            take(tmp_path / "file" / "store")
        assert not isinstance(error.value, FileExistsError) or "is being written" not in str(error.value)
