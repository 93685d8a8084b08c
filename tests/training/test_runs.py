"""A run on disk: what comes back, what is refused, and what a crash leaves behind."""

import copy
import errno
import io
import json
import os
import pickle
import pickletools
import stat
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from gan_builders import random_images, same_state, state_of, tiny_settings

from memgan.files import written_whole
from memgan.lab.baselines.models import as_model, build_model
from memgan.presets import Settings
from memgan.runs import build, load_run, save_run
from memgan.training import train

HISTORY = {"discriminator_loss": [1.5, 0.25], "real": [0.5, 0.75]}


@pytest.fixture(scope="module")
def settings():
    return tiny_settings(memory={"kappa": 13.0}, networks={"hidden": 3}, training={"steps": 3})


@pytest.fixture(scope="module")
def lived_in(settings):
    """A model some steps into its life, so that no buffer is at its first value."""
    torch.manual_seed(0)
    gan = build(settings)
    for _ in train(gan, random_images(23), settings.training):
        pass
    return gan


@pytest.fixture
def run(tmp_path, lived_in, settings):
    folder = tmp_path / "runs" / "one"
    save_run(folder, lived_in, settings, HISTORY)
    return folder


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_run_comes_back_bitwise_with_its_memory_and_settings(run, lived_in, settings):
    torch.manual_seed(99)
    gan, read = load_run(run)
    assert read == settings
    assert same_state(gan, state_of(lived_in))
    assert gan.memory.ages.max() == 3 and gan.memory.kappa == 13.0
    assert json.loads((run / "history.json").read_text(encoding="utf-8")) == HISTORY


@pytest.mark.parametrize("part", ["", "memory"])
def test_what_was_saved_in_float64_comes_back_in_it(tmp_path, lived_in, settings, part):
    double = copy.deepcopy(lived_in)
    double.get_submodule(part).double()
    save_run(tmp_path / "double", double, settings, HISTORY)
    gan, _ = load_run(tmp_path / "double")
    found, expected = gan.state_dict(), double.state_dict()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor)


def test_a_baseline_in_float64_draws_when_it_comes_back(tmp_path, settings):
    """Its keys are a buffer that is not stored."""
    infogan = as_model(settings, "infogan:10+1")
    save_run(tmp_path / "double", build_model(infogan).double(), infogan, HISTORY)
    gan, _ = load_run(tmp_path / "double", build=build_model)
    assert gan.generate(4).images.dtype == torch.float64


def test_a_run_comes_back_ready_for_use(run, lived_in):
    gan, _ = load_run(run)
    assert not any(module.training for module in gan.modules())
    images = random_images(7)
    assert torch.equal(gan.discriminate(images), lived_in.eval().discriminate(images))
    one, other = (model.generate(7, generator=torch.Generator().manual_seed(0)).images for model in (gan, lived_in))
    assert torch.equal(one, other)


@pytest.fixture
def compiled(settings):
    """A model of other weights, whose networks are compiled."""
    torch.manual_seed(1)
    gan = build(settings)
    gan.inference = torch.compile(gan.inference, backend="eager")
    gan.generator = torch.compile(gan.generator, backend="eager")
    return gan


@pytest.mark.thorough
def test_a_run_whose_networks_are_compiled_is_saved_as_any_other(tmp_path, compiled, settings):
    save_run(tmp_path / "run", compiled, settings, HISTORY)
    plain, _ = load_run(tmp_path / "run")
    images = random_images(7)
    torch.testing.assert_close(plain.discriminate(images), compiled.eval().discriminate(images), rtol=0, atol=1e-6)
    seeds = [torch.Generator().manual_seed(0) for _ in range(2)]
    ours = plain.generate(7, generator=seeds[0]).images
    torch.testing.assert_close(ours, compiled.generate(7, generator=seeds[1]).images, rtol=0, atol=1e-6)


def test_a_run_is_read_into_a_model_whose_networks_are_compiled(run, lived_in, compiled):
    loaded, _ = load_run(run, build=lambda *_: compiled)
    images = random_images(7)
    expected = lived_in.eval().discriminate(images)
    torch.testing.assert_close(loaded.discriminate(images), expected, rtol=0, atol=1e-6)


def test_a_model_is_not_saved_with_the_settings_of_another_memory(lived_in, settings, tmp_path):
    """It would come back as another discriminator."""
    others = replace(settings, memory=replace(settings.memory, kappa=60.0, alpha=0.5))
    with pytest.raises(ValueError, match=r"kappa 13.0 and not 60.0, alpha 0.9 and not 0.5.*replace\(settings, memory="):
        save_run(tmp_path / "run", lived_in, others, HISTORY)
    assert not (tmp_path / "run").exists()
    save_run(tmp_path / "run", lived_in, replace(others, memory=lived_in.memory.settings), HISTORY)


def test_loading_and_saving_again_gives_the_same_tensors_and_texts(run, tmp_path):
    gan, settings = load_run(run)
    save_run(tmp_path / "again", gan, settings, HISTORY)
    assert same_state(load_run(tmp_path / "again")[0], state_of(gan))
    for name in ("settings.json", "history.json"):
        assert contents(tmp_path / "again")[name] == contents(run)[name]


def test_a_run_holds_nothing_unfinished(run):
    assert set(contents(run)) == {"settings.json", "model.pt", "history.json"}


def test_files_are_plain_data(run):
    with io.BytesIO((run / "model.pt").read_bytes()) as file:
        state = torch.load(file, weights_only=True)
    assert all(torch.is_tensor(value) and value.device.type == "cpu" for value in state.values())


# ---------------------------------------------------------------- refused


def refused(folder):
    """The message of the ValueError that loading gives."""
    with pytest.raises(ValueError) as error:
        load_run(folder)
    assert str(folder) in str(error.value) or "settings of a run" in str(error.value)
    return str(error.value)


def test_a_folder_that_is_not_there_or_holds_no_run_is_refused(tmp_path):
    assert "settings.json" in refused(tmp_path / "nowhere")
    assert "settings.json" in refused(tmp_path)


def test_a_run_that_was_broken_off_is_refused_with_the_command_that_goes_on(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    assert f"memgan train --out {tmp_path} --resume" in refused(tmp_path)


@pytest.mark.parametrize("name", ["settings.json", "model.pt"])
def test_a_run_with_a_file_missing_is_refused(run, name):
    (run / name).unlink()
    assert name in refused(run)


@pytest.mark.parametrize("share", [0, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_a_model_that_was_cut_off_is_refused(run, share):
    whole = (run / "model.pt").read_bytes()
    (run / "model.pt").write_bytes(whole[: int(len(whole) * share)])
    assert "model.pt" in refused(run)


FOREIGN = {
    "text": b"hello world",
    "json": b'{"a": 1}',
    "zip header": b"PK\x03\x04hello",
    "all bytes": bytes(range(256)),
    "zeros": bytes(1000),
    "a pickle that ends at once": b"\x80\x02.",
    "a pickle of an unknown memo": b"\x80\x02h\x05.",
    "a pickled number": pickle.dumps(7, protocol=2),
    "a pickled list": pickle.dumps([1, 2], protocol=2),
    "a pickle of protocol 5": pickle.dumps({"a": [1.0] * 50}, protocol=5),
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_foreign_model_file_is_refused(run, content):
    (run / "model.pt").write_bytes(content)
    assert "model.pt" in refused(run)


@pytest.mark.parametrize("content", [7, None, [1, 2], {"a": 3}, {}, torch.zeros(3)], ids=repr)
def test_saved_objects_that_are_no_state_are_refused(run, content):
    torch.save(content, run / "model.pt")
    assert "model.pt" in refused(run)


def test_a_model_of_other_settings_is_refused(run, settings):
    other = build(tiny_settings(memory={"num_slots": 67, "kappa": 13.0}, networks={"hidden": 3}))
    torch.save(other.state_dict(), run / "model.pt")
    assert "model.pt" in refused(run) and "settings.json" in refused(run)


FOREIGN_SETTINGS = [b"", b"[]", b"null", b"3", b'"text"', b"kappa: 3", b'{"memory": {"kappa": 3}}', b"\xff\xfe"]
FOREIGN_SETTINGS.append(b"{" * 999)


@pytest.mark.parametrize("content", FOREIGN_SETTINGS, ids=repr)
def test_foreign_settings_are_refused_in_one_line_that_names_the_file(run, content):
    (run / "settings.json").write_bytes(content)
    message = refused(run)
    assert str(run / "settings.json") in message and "\n" not in message and len(message) < len(str(run)) + 300


def test_settings_beyond_any_machine_are_refused_before_they_are_built(run):
    content = json.loads((run / "settings.json").read_text(encoding="utf-8"))
    content["memory"]["num_slots"] = 10**12
    (run / "settings.json").write_text(json.dumps(content), encoding="utf-8")
    assert "1000000000000" in refused(run)


def test_settings_keep_a_folder_whose_name_python_could_not_decode(settings):
    """As with LC_ALL=C, where a name in UTF-8 holds its bytes as lone surrogates, by which Python finds the folder."""
    path = "folder:/" + "\u00fc".encode().decode("ascii", "surrogateescape")
    named = replace(settings, dataset=path)
    assert Settings.from_json(named.to_json()) == named
    assert named.changed(["memory.kappa=17.0"]).dataset == path


@pytest.mark.parametrize(
    ("part", "change"), [("memory", {"kappa": "large"}), ("memory", {"top_k": 999}), ("networks", {"width": "3"})]
)
def test_settings_that_cannot_be_built_are_refused(run, part, change):
    content = json.loads((run / "settings.json").read_text(encoding="utf-8"))
    content[part].update(change)
    (run / "settings.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError):
        load_run(run)


class Malicious:
    """Unpickled without care, it runs a command."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("writer", ["pickle", "torch", "torch inside a state"])
def test_a_malicious_pickle_is_refused_and_not_executed(run, tmp_path, lived_in, writer):
    mark = tmp_path / "executed"
    if writer == "pickle":
        (run / "model.pt").write_bytes(pickle.dumps(Malicious(mark), protocol=2))
    else:
        inside = {**lived_in.state_dict(), "more": Malicious(mark)}
        torch.save(inside if writer == "torch inside a state" else Malicious(mark), run / "model.pt")
    assert "weights_only" not in refused(run)
    assert not mark.exists()
    # the test can fail: the payload is one
    assert "system" in " ".join(str(op[1]) for op in pickletools.genops(pickle.dumps(Malicious(mark), protocol=2)))


# ---------------------------------------------------------------- crashes


@pytest.mark.parametrize("when", ["writing", "flushing"])
def test_a_crash_while_writing_leaves_the_old_files(run, lived_in, settings, monkeypatch, when):
    before, whole = contents(run), Path.write_bytes

    def breaks(path, content):
        whole(path, content[: len(content) // 2])
        raise OSError("disk full")

    def cannot(_):
        raise OSError("disk full")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="disk full"):
        if when == "writing":
            patch.setattr(Path, "write_bytes", breaks)
        else:
            patch.setattr(os, "fsync", cannot)
        save_run(run, lived_in, settings, {"real": []})
    assert contents(run) == before
    assert same_state(load_run(run)[0], state_of(lived_in))


def test_a_file_is_on_the_disk_before_it_takes_its_place_and_its_folder_after(tmp_path, monkeypatch):
    """What fsync saw, beside what the folder held then: the order that a power failure cannot upset."""
    seen, real = [], os.fsync

    def spy(descriptor):
        seen.append((os.readlink(f"/proc/self/fd/{descriptor}"), (tmp_path / "file").exists()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("no way to see what a descriptor stands for")
    with written_whole(tmp_path / "file") as path:
        path.write_text("whole", encoding="utf-8")
    assert seen == [(str(path), False), (str(tmp_path), True)]
    assert (tmp_path / "file").read_text(encoding="utf-8") == "whole"


@pytest.mark.skipif(os.name != "posix", reason="a folder cannot be opened here")
@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EACCES, errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("of_folders", [True, False])
def test_a_file_system_that_cannot_flush_folders_is_borne_and_one_that_fails_is_not(
    tmp_path, monkeypatch, code, of_folders
):
    real = os.fsync

    def fails(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) == of_folders:
            raise OSError(code, os.strerror(code))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fails)
    is_borne = of_folders and code not in (errno.EIO, errno.ENOSPC)
    outcome = nullcontext() if is_borne else pytest.raises(OSError, match=os.strerror(code))
    with outcome, written_whole(tmp_path / "file") as path:
        path.write_text("whole", encoding="utf-8")
    assert (tmp_path / "file").exists() == of_folders


def test_a_folder_that_may_be_written_and_not_read_takes_files(tmp_path):
    tmp_path.chmod(0o300)
    try:
        with written_whole(tmp_path / "file") as path:
            path.write_text("whole", encoding="utf-8")
    finally:
        tmp_path.chmod(0o700)
    assert (tmp_path / "file").read_text(encoding="utf-8") == "whole"


def test_a_link_leads_to_the_file_that_is_written(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere" / "file"
    (tmp_path / "link").symlink_to(target)
    for text in ("first", "second"):
        with written_whole(tmp_path / "link") as path:
            path.write_text(text, encoding="utf-8")
        assert target.read_text(encoding="utf-8") == text and (tmp_path / "link").is_symlink()
    assert [path.name for path in target.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("left", ["checkpoints/step-00000003.pt", "old_fakes.pt"])
def test_a_model_is_not_saved_among_what_another_training_left(run, lived_in, settings, left):
    """`load_run` would give a checkpoint of the other one, and an evaluation measure its old fakes."""
    before = contents(run)
    (run / left).parent.mkdir(exist_ok=True)
    (run / left).touch()
    with pytest.raises(
        ValueError, match=f"holds a run of memgan train.*may not belong.*delete .*{left.partition('/')[0]}"
    ):
        save_run(run, lived_in, settings, {"other": 1})
    assert {name: (run / name).read_bytes() for name in before} == before


def test_a_model_is_saved_beside_an_empty_folder_of_checkpoints(run, lived_in, settings):
    (run / "checkpoints").mkdir()
    save_run(run, lived_in, settings, HISTORY)


def test_a_model_is_saved_again_in_the_place_of_the_earlier_one(run, lived_in, settings):
    later = copy.deepcopy(lived_in)
    with torch.no_grad():
        next(later.parameters()).add_(1)
    save_run(run, later, settings, HISTORY)
    assert same_state(load_run(run)[0], state_of(later))


def test_a_crash_in_a_new_folder_leaves_no_run(tmp_path, lived_in, settings, monkeypatch):
    def breaks(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(torch, "save", breaks)
        save_run(tmp_path / "new", lived_in, settings, HISTORY)
    assert contents(tmp_path / "new") == {}
    refused(tmp_path / "new")


def test_a_history_that_is_no_json_leaves_the_old_run(run, lived_in, settings):
    before = contents(run)
    with torch.no_grad():
        next(lived_in.parameters()).zero_()
    with pytest.raises(TypeError):
        save_run(run, lived_in, settings, {"real": object()})
    assert contents(run) == before


def test_a_folder_in_place_of_which_there_is_a_file_gives_an_oserror(tmp_path, lived_in, settings):
    (tmp_path / "file").write_text("here", encoding="utf-8")
    with pytest.raises(OSError):
        save_run(tmp_path / "file", lived_in, settings, HISTORY)
    assert (tmp_path / "file").read_text(encoding="utf-8") == "here"
