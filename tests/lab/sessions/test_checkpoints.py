"""Checkpoints: what comes back, what is refused and changes nothing, and what a failed write leaves behind."""

import errno
import itertools
import os
import pickle
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from gan_builders import random_images, tiny_settings

from memgan.data import ImageData
from memgan.lab.sessions.checkpoints import Checkpoint, load, newest, restore, save
from memgan.runs import CHECKPOINT_VERSION, build, saved_checkpoints
from memgan.training import Trainer, prepare

STEPS = 13
EXTRAS = {"seed": 7, "device": "cpu", "threads": 1, "seconds": 2.5}


def trainer_of(settings=None, images=23, seed=0, compiled=False):
    settings = settings or tiny_settings(training={"steps": STEPS})
    prepare(seed)
    gan = build(settings)
    if compiled:
        gan.inference = torch.compile(gan.inference, backend="eager")
        gan.generator = torch.compile(gan.generator, backend="eager")
    return Trainer(gan, random_images(images), settings.training)


def after(steps, trainer=None):
    """A trainer some steps into its life, with the numbers of each."""
    trainer = trainer or trainer_of()
    history = [step[1:] for step in itertools.islice(trainer, steps)]
    return trainer, torch.tensor([[float(number) for number in row] for row in history]).reshape(-1, 4)


def checkpoint_of(trainer, history, settings=None):
    return Checkpoint(
        settings=settings or tiny_settings(training={"steps": STEPS}),
        trainer=trainer.state_dict(),
        history=history,
        old_fakes=torch.zeros(1, 64, 3, 4, 4, dtype=torch.uint8),
        old_steps=torch.tensor([2]),
        **EXTRAS,
    )


def flat(state, name=""):
    """Every tensor and number of a nested state, by its path."""
    if isinstance(state, dict):
        return {path: leaf for key, value in state.items() for path, leaf in flat(value, f"{name}/{key}").items()}
    return {name: state.clone() if torch.is_tensor(state) else state}


def same(one, other):
    one, other = flat(one), flat(other)
    return one.keys() == other.keys() and all(
        torch.equal(one[name], other[name]) if torch.is_tensor(one[name]) else one[name] == other[name] for name in one
    )


@pytest.fixture
def run(tmp_path):
    """A run with two checkpoints, of steps 3 and 5."""
    trainer, history = after(3)
    save(tmp_path, checkpoint_of(trainer, history), keep=3)
    trainer, more = after(2, trainer)
    save(tmp_path, checkpoint_of(trainer, torch.cat([history, more])), keep=3)
    return tmp_path


# ---------------------------------------------------------------- what comes back


@pytest.mark.parametrize("at", [0, 1, 2, 4, 7, STEPS])  # two whole batches are an epoch: 2 and 4 lie between two
def test_training_goes_on_bitwise_as_if_nothing_had_happened(tmp_path, at):
    whole, history = after(STEPS)
    expected = flat(whole.state_dict())
    path = save(tmp_path, checkpoint_of(*after(at)), keep=3)
    again = trainer_of(seed=99)  # other weights, another random state
    kept = load(path)
    restore(again, kept)
    again, rest = after(STEPS - at, again)
    assert same(flat(again.state_dict()), expected)
    assert torch.equal(torch.cat([kept.history, rest]), history)


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch.compile looks at it
@pytest.mark.parametrize(("before", "afterwards"), [(True, False), (False, True), (True, True)])
def test_training_goes_on_whether_the_networks_are_compiled_before_or_afterwards(tmp_path, before, afterwards):
    whole, _ = after(STEPS)
    path = save(tmp_path, checkpoint_of(*after(5, trainer_of(compiled=before))), keep=3)
    again = trainer_of(seed=99, compiled=afterwards)
    restore(again, load(path))
    again, _ = after(STEPS - 5, again)
    expected = whole.gan.state_dict()
    for name, tensor in again.gan.state_dict().items():
        torch.testing.assert_close(tensor, expected[name.replace("_orig_mod.", "")], rtol=1e-4, atol=1e-6)


def test_a_checkpoint_comes_back_as_it_was(run):
    trainer, history = after(5)
    kept = newest(run, pytest.fail)
    assert same(kept.trainer, trainer.state_dict()) and torch.equal(kept.history, history)
    assert kept.number == 5 and kept.settings == tiny_settings(training={"steps": STEPS})
    assert {name: getattr(kept, name) for name in EXTRAS} == EXTRAS
    assert kept.old_fakes.shape == (1, 64, 3, 4, 4) and kept.old_steps.tolist() == [2]


def test_the_last_few_are_kept_oldest_first(tmp_path):
    trainer = trainer_of()
    history = torch.zeros(0, 4)
    for number in range(1, 7):
        trainer, more = after(1, trainer)
        history = torch.cat([history, more])
        save(tmp_path, checkpoint_of(trainer, history), keep=3)
        assert [load(path).number for path in saved_checkpoints(tmp_path)] == list(
            range(max(1, number - 2), number + 1)
        )


def test_what_a_killed_process_left_unfinished_is_cleared_away(run):
    (run / "checkpoints" / "step-00000004.pt.12345").write_bytes(b"half of it")
    assert len(saved_checkpoints(run)) == 2
    save(run, checkpoint_of(*after(6)), keep=3)
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == [
        f"step-{number:08}.pt" for number in (3, 5, 6)
    ]


# ---------------------------------------------------------------- damaged, foreign, newer, malicious


def refused(path):
    with pytest.raises(ValueError) as error:
        load(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.7, 0.99])
def test_a_file_that_was_cut_off_is_refused(run, share):
    path = saved_checkpoints(run)[-1]
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    assert "damaged" in refused(path)


def test_a_single_changed_byte_anywhere_in_the_tensors_is_seen(run):
    path = saved_checkpoints(run)[-1]
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        entries = [entry for entry in archive.infolist() if "/data/" in entry.filename and entry.file_size > 16]
    for entry in entries[:: max(1, len(entries) // 7)]:
        damaged = bytearray(whole)
        header = whole[entry.header_offset : entry.header_offset + 30]  # ends with the lengths of what follows it
        content = entry.header_offset + 30 + int.from_bytes(header[26:28], "little")
        content += int.from_bytes(header[28:30], "little")
        damaged[content + entry.file_size // 2] ^= 1
        path.write_bytes(damaged)
        assert "damaged" in refused(path), entry.filename


@pytest.mark.parametrize("content", [b"", b"hello world", bytes(1000), pickle.dumps({"a": 1}), b"PK\x03\x04hello"])
def test_a_foreign_file_is_refused(run, content):
    saved_checkpoints(run)[-1].write_bytes(content)
    refused(saved_checkpoints(run)[-1])


@pytest.mark.parametrize("content", [7, [1], {}, {"format": "another"}, torch.zeros(3)], ids=repr)
def test_saved_objects_that_are_no_checkpoint_are_refused(run, content):
    torch.save(content, saved_checkpoints(run)[-1])
    assert "not a checkpoint of memgan" in refused(saved_checkpoints(run)[-1])


def changed(path, **changes):
    content = torch.load(path, weights_only=True)
    torch.save({name: value for name, value in {**content, **changes}.items() if value is not None}, path)
    return path


def test_a_newer_version_is_refused_and_named(run):
    error = refused(changed(saved_checkpoints(run)[-1], version=CHECKPOINT_VERSION + 1))
    assert f"version {CHECKPOINT_VERSION + 1}" in error


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"history": None}, "history"),
        ({"seconds": "long"}, "seconds"),
        ({"more": 3}, "more"),
        ({"looks": [1, 0.5, 30.0]}, "looks"),
        ({"trainer": {}}, "trainer.number"),
        ({"settings": "{}"}, "settings"),
    ],
)
def test_a_checkpoint_with_other_entries_is_refused(run, change, expected):
    path = changed(saved_checkpoints(run)[-1], **change)
    with pytest.raises(ValueError, match=expected):
        load(path)


class Malicious:
    """Unpickled without care, it runs a command."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("writer", ["pickle", "torch", "torch, inside a checkpoint", "torch, as it used to be"])
def test_a_malicious_file_is_refused_and_runs_nothing(run, tmp_path, writer):
    path, mark = saved_checkpoints(run)[-1], tmp_path / "executed"
    if writer == "pickle":
        path.write_bytes(pickle.dumps(Malicious(mark)))
    elif writer == "torch, inside a checkpoint":
        torch.save({**torch.load(path, weights_only=True), "seed": Malicious(mark)}, path)
    else:
        torch.save(Malicious(mark), path, _use_new_zipfile_serialization=writer == "torch")
    refused(path)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Malicious(mark)))  # the payload is one
    assert mark.exists()


def test_the_one_before_is_taken_where_the_newest_is_damaged(run):
    newest_path, said = saved_checkpoints(run)[-1], []
    newest_path.write_bytes(newest_path.read_bytes()[:-1000])
    assert newest(run, said.append).number == 3
    assert len(said) == 1 and str(newest_path) in said[0]
    assert newest_path.exists()


def test_going_on_from_the_one_before_does_not_delete_it_for_a_damaged_one(run):
    path = saved_checkpoints(run)[-1]
    path.write_bytes(path.read_bytes()[:-1000])
    save(run, checkpoint_of(*after(4)), keep=1)
    assert newest(run, lambda _: None).number == 4


def test_without_any_that_loads_the_run_is_named(tmp_path, run):
    for path in saved_checkpoints(run):
        path.write_bytes(b"gone")
    with pytest.raises(ValueError, match="none of its 2 checkpoints"):
        newest(run, lambda _: None)
    with pytest.raises(ValueError, match="nowhere cannot be resumed"):
        newest(tmp_path / "nowhere", pytest.fail)


# ---------------------------------------------------------------- what does not fit is refused and changes nothing


def does_not_fit(checkpoint, trainer):
    before, random_state = flat(trainer.state_dict()), torch.get_rng_state()
    with pytest.raises(ValueError) as error:
        restore(trainer, checkpoint)
    assert same(flat(trainer.state_dict()), before) and torch.equal(torch.get_rng_state(), random_state)
    return str(error.value)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ({"memory": {"num_slots": 67}}, "memory.keys has shape [61, 7]"),
        ({"networks": {"width": 3}}, "inference"),
        ({"networks": {"hidden": 3}}, "other entries|expected entries"),
        ({"training": {"steps": 4}}, "step 5"),
    ],
)
def test_a_checkpoint_of_other_settings_does_not_fit(run, other, expected):
    settings = tiny_settings(**{"training": {"steps": STEPS}, **other})
    error = does_not_fit(newest(run, pytest.fail), trainer_of(settings))
    assert any(word in error for word in expected.split("|"))


def test_a_checkpoint_of_other_data_does_not_fit(run):
    assert "order" in does_not_fit(newest(run, pytest.fail), trainer_of(images=24))


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (["number"], -1, "step -1"),
        (["position"], 24, "image 24"),
        (["order"], torch.zeros(23, dtype=torch.long), "each image once"),
        (["order"], torch.arange(23.0), "order"),
        (["random", "cpu"], torch.zeros(3, dtype=torch.uint8), "random"),
        (["random", "cpu"], torch.zeros(5056, dtype=torch.uint8), "random state"),
        (["generator"], {}, "generator"),
        (["discriminator", 0, "exp_avg"], torch.zeros(2), "exp_avg"),
        (["gan", "memory.ages"], torch.zeros(61), "ages"),
        (["gan", "memory.ages"], "old", "ages"),
    ],
)
def test_a_state_that_makes_no_sense_is_refused(run, path, value, expected):
    checkpoint = newest(run, pytest.fail)
    place = checkpoint.trainer
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    assert expected in does_not_fit(checkpoint, trainer_of())


def test_a_history_of_another_length_is_refused(run):
    checkpoint = newest(run, pytest.fail)
    assert "history" in does_not_fit(replace(checkpoint, history=checkpoint.history[:-1]), trainer_of())


# ---------------------------------------------------------------- when it cannot be written


def contents(folder):
    return {path.name: path.read_bytes() for path in (folder / "checkpoints").iterdir()}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("when", ["writing", "flushing"])
def test_a_disk_that_fails_leaves_the_old_ones(run, monkeypatch, code, when):
    before = contents(run)
    whole = Path.write_bytes

    def half(path, content):
        whole(path, content[: len(content) // 2])
        raise OSError(code, os.strerror(code), str(path))

    def fails(_):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch, pytest.raises(OSError, match=os.strerror(code)):
        if when == "writing":
            patch.setattr(Path, "write_bytes", half)
        else:
            patch.setattr(os, "fsync", fails)
        save(run, checkpoint_of(*after(6)), keep=1)
    assert contents(run) == before


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no device that is always full")
def test_a_full_device_is_an_oserror_to_the_writer():
    """What `save` relies on: bytes that Python writes give ENOSPC, where PyTorch's own writer gives a RuntimeError."""
    with pytest.raises(OSError) as error:
        Path("/dev/full").write_bytes(bytes(100))
    assert error.value.errno == errno.ENOSPC


def test_a_folder_that_may_not_be_written_to_is_an_oserror(run):
    folder = run / "checkpoints"
    folder.chmod(0o500)
    if os.access(folder, os.W_OK):
        folder.chmod(0o700)
        pytest.skip("root may write everywhere")
    try:
        with pytest.raises(OSError):
            save(run, checkpoint_of(*after(6)), keep=1)
        assert len(saved_checkpoints(run)) == 2
    finally:
        folder.chmod(0o700)


def test_a_file_in_place_of_the_folder_is_an_oserror(run):
    shutil.rmtree(run / "checkpoints")
    (run / "checkpoints").write_text("here", encoding="utf-8")
    with pytest.raises(OSError):
        save(run, checkpoint_of(*after(1)), keep=1)


@pytest.mark.parametrize("name", ["memory.keys", "generator.layers.0.weight"])
def test_numbers_that_are_not_finite_are_not_kept(run, name):
    trainer, history = after(6)
    trainer.gan.state_dict()[name].view(-1)[3] = float("nan")
    before = contents(run)
    with pytest.raises(FloatingPointError, match="step 6"):
        save(run, checkpoint_of(trainer, history), keep=1)
    assert contents(run) == before


def test_images_as_bytes_train_and_go_on_too(tmp_path):
    settings = tiny_settings(training={"steps": STEPS, "flip": True, "shift": 1, "brightness": 0.2})
    images = ((random_images(23) + 1) * 127.5).byte()

    def fresh(seed):
        prepare(seed)
        return Trainer(build(settings), ImageData(images, torch.zeros(23, dtype=torch.long)), settings.training)

    whole, _ = after(STEPS, fresh(0))
    path = save(tmp_path, checkpoint_of(*after(5, fresh(0)), settings), keep=1)
    again = fresh(1)
    restore(again, load(path))
    after(STEPS - 5, again)
    assert same(again.state_dict()["gan"], whole.state_dict()["gan"])
