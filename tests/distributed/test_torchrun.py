"""`torchrun -m memgan train`: one model of all ranks, in one folder, which any number of ranks goes on with."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import torch.distributed as dist

from memgan.lab.commands.cli import main
from memgan.lab.sessions.world import announced_ranks
from memgan.runs import read_checkpoint, saved_checkpoints

pytestmark = pytest.mark.skipif(not dist.is_gloo_available(), reason="PyTorch has no gloo here")

RANKS = 2


def started(*words):
    """`memgan` on two ranks of this machine, in the background."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
    command += ["--nproc-per-node", str(RANKS), "-m", "memgan", *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.1)


def numbers_of(run):
    return [read_checkpoint(path)["trainer"]["number"] for path in saved_checkpoints(run)]


@pytest.mark.thorough
def test_ranks_train_one_run_in_the_place_of_another_and_one_process_goes_on_with_it(tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["train", "--preset", "digits", "--steps", "8", "--out", str(run)]) == 0  # is to be replaced
    words = ["train", "--preset", "digits", "--steps", "6", "--evaluate-every", "3", "--out", run, "--force"]
    process = started(*words)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert numbers_of(run) == [0, 3, 6]
    assert said.count("training a memorygan") == 1  # one rank speaks
    assert "6 steps" in said and "2 ranks, each on cpu, 1 thread, seed 0" in said
    assert len(json.loads((run / "history.json").read_text())["discriminator_loss"]) == 6
    measured = [json.loads(line)["step"] for line in (run / "scores.jsonl").read_text().splitlines()]
    assert measured == [3, 6]  # by one rank, while the other waits

    assert main(["train", "--resume", "--steps", "9", "--out", str(run)]) == 0
    assert numbers_of(run)[-1] == 9
    assert "9 steps" in capsys.readouterr().out


@pytest.mark.thorough
def test_a_study_of_ranks_has_the_scores_of_one_process(tmp_path):
    """Three runs for two ranks: in the last round one of them has nothing to do."""
    words = ["study", "kappa", "--preset", "digits", "--steps", "60", "--seeds", "0", "--only", "kappa 8", "kappa 30"]
    words += ["kappa 60", "--runs", tmp_path / "runs"]
    process = started(*words, "--out", tmp_path / "ranks.json")
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert main([*map(str, words), "--out", str(tmp_path / "alone.json")]) == 0  # evaluates the same models
    scores = {}
    for name in ("ranks", "alone"):
        runs = json.loads((tmp_path / f"{name}.json").read_text())["runs"]
        scores[name] = {
            run["configuration"]: (run["inception_score"], run["frechet_distance"], run["recall"]) for run in runs
        }
    assert scores["ranks"] == scores["alone"]
    assert len(set(scores["alone"].values())) == 3


@pytest.mark.slow
def test_a_signal_has_all_ranks_stop_after_one_step_which_is_kept(tmp_path):
    run = tmp_path / "run"
    process = started("train", "--preset", "digits", "--steps", "5000", "--checkpoint-every", "10", "--out", run)
    wait_for(lambda: len(saved_checkpoints(run)) > 1)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert said.count("stopped after step") == 1, said
    step = int(said.partition("stopped after step ")[2].split()[0])
    assert numbers_of(run)[-1] == step
    assert "torchrun --nproc-per-node 2 -m memgan train" in said  # how to go on


@pytest.mark.slow
def test_a_rank_that_is_killed_ends_the_run_which_goes_on_from_its_last_checkpoint(tmp_path):
    run = tmp_path / "run"
    process = started("train", "--preset", "digits", "--steps", "300", "--checkpoint-every", "10", "--out", run)
    wait_for(lambda: len(saved_checkpoints(run)) > 1)
    victim = rank_of(process.pid, 1)
    os.kill(victim, signal.SIGKILL)
    killed = time.monotonic()
    said, _ = process.communicate(timeout=60)
    assert time.monotonic() - killed < 60
    assert process.returncode != 0
    assert "rank 0 of 2 cannot go on with the others" in said
    assert "local_rank: 1" in said  # torchrun names the rank that ended first
    assert numbers_of(run)[-1] < 300
    assert main(["train", "--resume", "--out", str(run)]) == 0
    assert numbers_of(run)[-1] == 300


def rank_of(launcher, rank):
    """The process of a rank that `launcher` has started, which its environment names."""
    for process in psutil.Process(launcher).children():
        if process.environ().get("RANK") == str(rank):
            return process.pid
    raise AssertionError(f"there is no rank {rank}")


def test_commands_that_would_do_the_same_in_each_rank_refuse(monkeypatch, capsys):
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    assert announced_ranks() == 2
    assert main(["evaluate", "nowhere"]) == 1
    assert "torchrun is for train and study" in capsys.readouterr().err


@pytest.mark.parametrize("environment", [{}, {"WORLD_SIZE": "4"}, {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "x"}])
def test_a_process_alone_is_no_rank(environment, monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert announced_ranks() == 1
