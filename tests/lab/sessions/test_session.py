"""A training run in a folder: how it fails, with what diagnosis, and what is left then."""

import errno
import os
import signal
import threading

import pytest
import torch
from gan_builders import random_images, same_state, state_of, tiny_gan, tiny_settings

import memgan.lab.sessions.session
import memgan.training
from memgan.data import ImageData
from memgan.lab.baselines.models import as_model, build_model
from memgan.lab.sessions import checkpoints
from memgan.lab.sessions.diagnosis import TrainingError, Watch, label_shares
from memgan.lab.sessions.session import Interrupted, Session, SessionOptions, fastest_threads, resume
from memgan.runs import load_run, saved_checkpoints

EVERY_STEP = SessionOptions(checkpoint_every=1, keep=3)


def data_of(images=None):
    return ImageData(random_images(23) if images is None else images, torch.zeros(23, dtype=torch.long))


def session_in(folder, *, steps=13, options=EVERY_STEP, images=None, memory=None, **training):
    settings = tiny_settings(memory=memory, training={"steps": steps, **training})
    return Session(folder, settings, data_of(images), options=options)


def numbers_kept(folder):
    return [checkpoints.load(path).number for path in saved_checkpoints(folder)]


def after_each_step(monkeypatch, act):
    """Have `act(number, gan)` happen at the end of every step."""
    real, done = memgan.training.training_step, []

    def step(gan, *rest):
        numbers = real(gan, *rest)
        done.append(None)
        return act(len(done), gan, numbers) or numbers

    monkeypatch.setattr(memgan.training, "training_step", step)


# ---------------------------------------------------------------- diagnoses


def test_weights_that_are_no_longer_finite_end_the_run_before_they_are_kept(tmp_path, monkeypatch):
    def spoil(number, gan, _):
        if number == 6:
            next(gan.generator.parameters()).data.view(-1)[0] = float("nan")

    after_each_step(monkeypatch, spoil)
    with pytest.raises(TrainingError) as error:
        session_in(tmp_path).run()
    message = str(error.value)
    assert "step 6" in message and "generator.layers.0.weight" in message and "training.generator_lr" in message
    assert message.endswith("step-00000005.pt") and numbers_kept(tmp_path) == [3, 4, 5]


def test_losses_that_are_no_longer_finite_are_dated(tmp_path, monkeypatch):
    after_each_step(
        monkeypatch, lambda n, _, numbers: (torch.tensor(float("nan")), *numbers[1:]) if n >= 30 else numbers
    )
    with pytest.raises(TrainingError, match="losses are not finite since step 30. Try a lower"):
        session_in(tmp_path, steps=73, options=SessionOptions(checkpoint_every=20)).run()
    assert numbers_kept(tmp_path) == [0, 20]


def test_a_query_that_is_not_finite_is_explained_where_the_memory_sees_it(tmp_path):
    session = session_in(tmp_path)
    with torch.no_grad():
        next(session.gan.inference.parameters()).fill_(torch.nan)
    with pytest.raises(TrainingError, match="not finite by step 0: inference.layers.0.weight"):
        session.run()


def test_an_image_that_is_not_finite_is_refused_before_training(tmp_path):
    images = random_images(23)
    images[7] = torch.nan
    with pytest.raises(ValueError, match=r"must lie in \[-1, 1\], got values from nan"):
        session_in(tmp_path, images=images)


@pytest.mark.parametrize("label", [0, 1])
def test_a_memory_that_one_label_has_taken_over_ends_the_run(tmp_path, monkeypatch, label):
    def take_over(number, gan, _):
        if number == 49:
            gan.memory.values.fill_(label)

    after_each_step(monkeypatch, take_over)
    with pytest.raises(TrainingError) as error:
        session_in(tmp_path, steps=73, options=SessionOptions(checkpoint_every=20)).run()
    message = str(error.value)
    assert message.count(f"{'real' if label else 'generated'} samples have taken over the memory") == 1
    assert "memory.num_slots" in message and "step-00000040.pt" in message


def test_real_slots_without_any_mass_are_a_take_over_too():
    gan, settings = tiny_gan(), tiny_settings()
    watch = Watch(gan, settings)
    watch.look([[1.0, 1.0, 0.5, 0.5]])
    gan.memory.histogram[gan.memory.values == 1] = 0
    with pytest.raises(TrainingError, match="0.0% of the histogram is theirs"):
        watch.look([[1.0, 1.0, 0.5, 0.5]] * 2)


ALIVE = [1.0, 1.0, 0.5, 0.5]


def watch_of(steps, memory=None, **training):
    gan = tiny_gan(memory=memory)
    dead = [1.0, 6.9, 0.999, gan.memory.epsilon]
    return Watch(gan, tiny_settings(memory=memory, training={"steps": steps, **training})), dead


@pytest.mark.parametrize(
    ("steps", "dead_steps"),
    [(650, 130), (100, 50), (15_000, 1000), (78_100, 1000)],  # a fifth, but neither less than 50 nor more than 1000
)
def test_a_fifth_of_the_run_in_the_clip_ends_it(steps, dead_steps):
    watch, dead = watch_of(steps)
    watch.look([ALIVE] * 20 + [dead] * (dead_steps - 1))
    with pytest.raises(TrainingError, match=r"at the clip, D = 0.001, since step 21\b"):
        watch.look([ALIVE] * 20 + [dead] * dead_steps)
    watch.look([ALIVE] * 20 + [dead] * dead_steps, only_finite=True)


def test_a_single_image_outside_the_clip_is_life():
    watch, _ = watch_of(650)
    epsilon = tiny_settings().memory.epsilon
    mean = (63 * epsilon + 2 * epsilon) / 64
    watch.look([[1.0, 6.9, 0.999, mean]] * 2000)
    assert watch.warning([[1.0, 6.9, 0.999, mean]] * 650) == ""


def test_a_model_without_a_memory_is_at_its_own_clip():
    settings = tiny_settings(training={"steps": 650}).changed(["model=dcgan"])
    watch = Watch(build_model(settings), settings)
    watch.look([[1.0, 7.6, 0.999, settings.memory.epsilon / 2]] * 650)  # there -log D has its gradient
    with pytest.raises(TrainingError, match="at the clip, D = 1e-07, since step 1:"):
        watch.look([[1.0, 16.1, 0.999, 1e-7]] * 650)


def test_a_run_that_ends_in_the_clip_is_warned_of():
    watch, dead = watch_of(650)
    assert watch.warning([ALIVE] * 640 + [dead] * 10) == ""
    assert "since step 601" in watch.warning([ALIVE] * 600 + [dead] * 50)


@pytest.mark.parametrize(
    ("training", "memory", "named", "not_named"),
    [
        ({"mi_weight": 0.0}, None, ["training.mi_weight=0", "kappa (now 11)"], ["non_saturating"]),
        ({"generator_loss": "saturating"}, None, ["training.generator_loss=non_saturating"], ["mi_weight"]),
        ({}, {"kappa": 33.0}, ["kappa (now 33)", "discriminator_lr"], ["non_saturating", "mi_weight"]),
    ],
)
def test_advice_on_the_clip_names_what_the_settings_show(training, memory, named, not_named):
    watch, dead = watch_of(650, memory, **training)
    message = watch.warning([dead] * 650)
    assert all(words in message for words in named) and not any(words in message for words in not_named)


@pytest.mark.parametrize("replaces_within_label", [True, False])
def test_advice_on_one_label_names_no_setting_that_is_already_so(replaces_within_label):
    memory = {"replace_within_label": replaces_within_label}
    gan = tiny_gan(memory=memory)
    gan.memory.values.fill_(1)
    message = Watch(gan, tiny_settings(memory=memory)).warning([ALIVE])
    assert ("replace_within_label=true" in message) is not replaces_within_label and "num_slots (now 61)" in message


def with_slots_in_use(gan, number):
    """The memory as if so many of its real slots were drawn equally often and the others never."""
    real = gan.memory.values.nonzero().flatten()
    gan.memory.histogram[real] = 0
    gan.memory.histogram[real[:number]] = 1


@pytest.mark.parametrize(("penalty", "last", "warned"), [(0.0, 9, True), (0.5, 9, True), (0.0, 11, False)])
def test_a_run_whose_slots_fell_out_of_use_is_warned_of(penalty, last, warned):
    gan = tiny_gan()
    watch = Watch(gan, tiny_settings(training={"steps": 1000, "gradient_penalty": penalty}))
    for number, slots in ((50, 31), (100, 12), (500, 30), (1000, last)):  # before step 100 nothing has settled
        with_slots_in_use(gan, slots)
        watch.look([ALIVE] * number)
    message = watch.warning([ALIVE] * 1000)
    if warned:
        assert f"out of use: {last} at step 1000, after 30 at step 500" in message
        assert ("gradient_penalty above 0" in message) is (penalty == 0) and "discriminator_lr" in message
    else:
        assert message == ""


def test_slots_that_are_only_drawn_again_because_images_were_counted_anew_are_warned_of():
    gan = tiny_gan()
    watch = Watch(gan, tiny_settings(training={"steps": 1000}))
    for number, slots in ((500, 30), (1000, 9)):
        with_slots_in_use(gan, slots)
        watch.look([ALIVE] * number)
    with_slots_in_use(gan, 25)
    assert "out of use: 9 at step 1000, after 30 at step 500" in watch.warning([ALIVE] * 1000)


@pytest.mark.thorough
def test_a_run_that_was_interrupted_still_knows_how_many_slots_it_had(tmp_path, monkeypatch, capsys):
    """And so does one that was over when it was resumed, which does not look again."""

    def lose_slots(number, gan, _):
        if number in (50, 73):
            with_slots_in_use(gan, 20 if number == 50 else 2)
        if number == 60:
            signal.raise_signal(signal.SIGINT)

    after_each_step(monkeypatch, lose_slots)
    session = session_in(tmp_path, steps=73)
    with pytest.raises(Interrupted):
        session.run()
    for _ in range(2):
        resume(tmp_path, session.settings, data_of(), options=EVERY_STEP).run()
        assert "out of use: 2 at step 73, after 20 at step 50" in capsys.readouterr().err


@pytest.mark.thorough
def test_a_memory_that_is_taken_over_is_dated_by_the_looks_before_an_interruption(tmp_path, monkeypatch):
    def take_over(number, gan, _):
        if number in (50, 73):
            gan.memory.values.copy_(torch.arange(200) < (185 if number == 50 else 200))
        if number == 51:
            signal.raise_signal(signal.SIGINT)

    after_each_step(monkeypatch, take_over)
    session = session_in(tmp_path, steps=73, memory={"num_slots": 200})
    with pytest.raises(Interrupted):
        session.run()
    with pytest.raises(TrainingError, match="about so since step 50, after 92% at step 50"):
        resume(tmp_path, session.settings, data_of(), options=EVERY_STEP).run()


def test_a_model_without_a_memory_has_no_slots_to_lose():
    settings = as_model(tiny_settings(), "dcgan")
    watch = Watch(build_model(settings), settings)
    watch.look([ALIVE] * 13)
    assert watch.warning([ALIVE] * 13) == ""


def test_a_run_goes_on_when_asked_to(tmp_path, monkeypatch):
    monkeypatch.setattr(Watch, "_one_label", lambda *_: "taken over")
    with pytest.raises(TrainingError, match="taken over"):
        session_in(tmp_path / "stops").run()
    session_in(tmp_path / "goes on", options=SessionOptions(stops=False)).run()
    assert load_run(tmp_path / "goes on")[1].training.steps == 13 and not (tmp_path / "stops" / "model.pt").exists()


def test_slots_in_use_and_shares_of_a_memory_that_is_known():
    """Four equally full slots among the real ones are four in use; a quarter of the mass is theirs."""
    gan = tiny_gan(memory={"num_slots": 40})
    gan.memory.values.copy_(torch.arange(40) < 10)
    gan.memory.histogram.copy_(
        torch.where(torch.arange(40) < 4, 3.0, 0.0) + torch.where(torch.arange(40) >= 10, 1.2, 0.0)
    )
    assert float(gan.slots_in_use()) == pytest.approx(4)
    assert label_shares(gan.memory) == pytest.approx((0.25, 0.25))


# ---------------------------------------------------------------- what is left


def test_a_full_disk_ends_the_run_and_the_checkpoint_before_goes_on(tmp_path, monkeypatch):
    whole = session_in(tmp_path / "whole")
    whole.run()
    with monkeypatch.context() as patch:
        real = checkpoints.serialised

        def full(content):
            if content["trainer"]["number"] >= 5:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(content)

        patch.setattr(checkpoints, "serialised", full)
        with pytest.raises(OSError, match="step 5.*No space left.*step-00000004.pt"):
            session_in(tmp_path / "run").run()
    again = resume(tmp_path / "run", tiny_settings(training={"steps": 13}), data_of(), options=EVERY_STEP)
    assert again.trainer.number == 4
    again.run()
    assert same_state(again.gan, state_of(whole.gan)) and again.history == whole.history


def test_a_session_resumes_what_is_there_and_begins_what_is_not(tmp_path):
    settings = tiny_settings(training={"steps": 13})
    first = resume(tmp_path, settings, data_of(), seed=3)
    assert first.trainer.number == 0
    first.run()
    again = resume(tmp_path, settings, data_of(), seed=99)
    assert again.trainer.number == 13 and again.seed == 3
    again.run()
    assert same_state(again.gan, state_of(first.gan))


def test_a_run_that_is_made_longer_goes_on_from_what_its_last_step_left(tmp_path):
    """And not from what counting anew made of it: it is the run that was begun so long."""
    training = {"decay_from": 1.0}
    resume(tmp_path / "short", tiny_settings(training={"steps": 13, **training}), data_of()).run()
    longer = tiny_settings(training={"steps": 20, **training})
    resume(tmp_path / "short", longer, data_of()).run()
    resume(tmp_path / "long", longer, data_of()).run()
    found, expected = (load_run(tmp_path / name)[0] for name in ("short", "long"))
    assert same_state(found, state_of(expected))


@pytest.mark.parametrize(("first", "then"), [(20, 30), (20, 200), (100, 130), (7, 100)])
def test_a_run_of_another_length_keeps_about_ten_moments_evenly(tmp_path, first, then):
    resume(tmp_path, tiny_settings(training={"steps": first}), data_of()).run()
    resume(tmp_path, tiny_settings(training={"steps": then}), data_of()).run()
    steps = torch.load(tmp_path / "old_fakes.pt", weights_only=True)["steps"]
    assert steps[-1] == then and len(steps) <= 10
    gaps = steps.diff(prepend=torch.tensor([0]))
    assert gaps.max() <= 2 * then / 10 and gaps.min() > 0


def test_a_run_whose_counting_failed_can_go_on_without(tmp_path, monkeypatch):
    settings = tiny_settings(training={"steps": 13})
    session = resume(tmp_path, settings, data_of())

    def fail(*_):
        raise ValueError("queries must be finite")

    monkeypatch.setattr(type(session.gan.memory), "recount", fail)
    with pytest.raises(TrainingError, match="queries must be finite"):
        session.run()
    assert numbers_kept(tmp_path)[-1] == 13
    without = tiny_settings(training={"steps": 13, "recount": False})
    resume(tmp_path, without, data_of()).run()
    assert load_run(tmp_path)[1] == without


def test_a_checkpoint_of_another_device_is_refused(tmp_path):
    session = session_in(tmp_path)
    path = session.save()
    content = torch.load(path, weights_only=True)
    torch.save({**content, "device": "cuda"}, path)
    with pytest.raises(ValueError, match="begun on cuda"):
        resume(tmp_path, session.settings, data_of())


def test_checkpoints_take_at_most_a_hundredth_of_the_time_unless_asked_for(tmp_path, monkeypatch):
    """By a clock where a save takes 2 s and a step 0.11 s: 200 s have passed at 2000, the fourth multiple of 500."""
    now = [0.0]
    monkeypatch.setattr(memgan.lab.sessions.session.time, "perf_counter", lambda: now[0])
    session = session_in(tmp_path, steps=2500, options=SessionOptions())
    real = checkpoints.save
    monkeypatch.setattr(checkpoints, "save", lambda *a, **k: (now.__setitem__(0, now[0] + 2.0), real(*a, **k))[1])
    session.save()
    saved = []
    for number in range(1, 2501):
        now[0] += 0.11
        if session._save_is_due(number):
            session.save()
            saved.append(number)
    assert saved == [2000]
    assert [n for n in range(1, 30) if session_in(tmp_path, options=SessionOptions(7))._save_is_due(n)] == [
        7,
        14,
        21,
        28,
    ]


def test_signals_are_caught_in_the_main_thread_only(tmp_path):
    """In another thread a session runs, and leaves the signals to who handles them."""
    before, failed = signal.getsignal(signal.SIGINT), []

    def run():
        try:
            session_in(tmp_path, steps=3).run()
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert not failed and (tmp_path / "model.pt").exists() and signal.getsignal(signal.SIGINT) is before


def test_a_second_signal_does_not_wait_for_the_step(tmp_path, monkeypatch):
    def twice(*_):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    after_each_step(monkeypatch, twice)
    with pytest.raises(KeyboardInterrupt):
        session_in(tmp_path).run()
    assert numbers_kept(tmp_path) == [0]


def test_an_interruption_says_where_and_why(tmp_path, monkeypatch):
    after_each_step(monkeypatch, lambda number, *_: signal.raise_signal(signal.SIGTERM) if number == 2 else None)
    with pytest.raises(Interrupted, match="after step 2 .SIGTERM., kept in .*step-00000002.pt") as end:
        session_in(tmp_path).run()
    assert end.value.exit_code == 143


# ---------------------------------------------------------------- threads


def test_small_models_take_one_thread_untried(monkeypatch):
    def tried(*_):
        raise AssertionError("tried")

    monkeypatch.setattr(memgan.training, "training_step", tried)
    settings = tiny_settings()
    assert fastest_threads(tiny_gan(), data_of(), settings) == 1


@pytest.mark.parametrize("best", [1, 2, 3])
def test_large_models_take_what_is_fastest_on_a_copy(monkeypatch, best):
    """Three cores, and a clock by which a step with `best` threads is the fastest."""
    now, gan, settings = [0.0], tiny_gan(), tiny_settings()
    monkeypatch.setattr(memgan.lab.sessions.session, "THREADED", 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    monkeypatch.setattr(memgan.lab.sessions.session.time, "perf_counter", lambda: now[0])
    after_each_step(
        monkeypatch, lambda *_: now.__setitem__(0, now[0] + 1 + abs(torch.get_num_threads() - best)) or None
    )
    before, random_state = state_of(gan), torch.get_rng_state()
    assert fastest_threads(gan, data_of(), settings) == best
    assert same_state(gan, before) and torch.equal(torch.get_rng_state(), random_state)


def test_a_run_keeps_its_number_of_threads(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    settings = tiny_settings(training={"steps": 13})
    Session(tmp_path, settings, data_of(), threads=2).save()
    again = resume(tmp_path, settings, data_of())
    assert again.threads == torch.get_num_threads() == 2
    assert resume(tmp_path, settings, data_of(), threads=1).threads == 1


def test_a_run_from_a_machine_of_more_cores_goes_on_with_those_that_there_are(tmp_path, monkeypatch, capsys):
    settings = tiny_settings(training={"steps": 13})
    Session(tmp_path, settings, data_of(), threads=2).save()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    assert resume(tmp_path, settings, data_of()).threads == 1
    assert "2 threads" in capsys.readouterr().err


# ---------------------------------------------------------------- signals


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no terminals that hang up")
def test_a_terminal_that_hangs_up_twice_leaves_a_checkpoint(tmp_path, monkeypatch):
    def twice(number, *_):
        if number == 2:
            signal.raise_signal(signal.SIGHUP)
            signal.raise_signal(signal.SIGHUP)

    after_each_step(monkeypatch, twice)
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests themselves may run under nohup
    try:
        with pytest.raises(Interrupted, match="after step 2 .SIGHUP.") as end:
            session_in(tmp_path).run()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert end.value.exit_code == 129 and numbers_kept(tmp_path)[-1] == 2


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no terminals that hang up")
def test_what_nohup_ignores_stays_ignored(tmp_path, monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        after_each_step(monkeypatch, lambda *_: signal.raise_signal(signal.SIGHUP))
        session_in(tmp_path, steps=3).run()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (tmp_path / "model.pt").exists()
