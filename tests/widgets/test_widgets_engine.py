"""The playground's engine against memgan and PyTorch in float64, part by part and step by step.

Each case runs under Node; all of them run once more in Chromium and must give what Node gave.
"""

import json
import math
import shutil
import subprocess
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
import torch
from torch import nn

from memgan.gan import information_loss, posterior_information_loss
from memgan.lab.baselines.memories import AveragingMemory
from memgan.memory import VMFMemory
from memgan.training import TrainingSettings, adam_optimisers, training_step
from memgan.widgets.base import script
from tests.browser import chromium
from walkthrough import nb01_plane as plane

NODE = shutil.which("node")
CASES = Path(__file__).with_name("engine_cases.js")
BATCH = 64  # of the engine
RUN = """
import * as engine from "./engine.mjs";
import { cases } from "./cases.mjs";
import { readFileSync } from "node:fs";
const [name, given] = JSON.parse(readFileSync(0, "utf-8"));
console.log(JSON.stringify(cases[name](engine, given)));
"""
IN_PAGE = """async ([engine, cases, name, given]) => {
  const load = (text) => import(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
  return (await load(cases)).cases[name](await load(engine), given);
}"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """`run(name, **given)`: what a case of engine_cases.js gives, under Node."""
    if NODE is None:
        pytest.skip("no Node: install Debian's nodejs")
    folder = tmp_path_factory.mktemp("engine")
    (folder / "engine.mjs").write_text(script("playground/engine.js"), encoding="utf-8")
    (folder / "cases.mjs").write_text(CASES.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "run.mjs").write_text(RUN, encoding="utf-8")

    def run_case(name, **given):
        asked = json.dumps([name, plain(given)])
        command = [NODE, str(folder / "run.mjs")]
        done = subprocess.run(command, input=asked, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run_case


def plain(value):
    """Tensors as flat lists of numbers, inside dictionaries and lists, too."""
    if torch.is_tensor(value):
        return value.detach().flatten().tolist()
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return value


def close(found, expected, *, within=1e-10):
    """Whether a flat list holds the numbers of a tensor."""
    expected = expected.detach().double().flatten()
    torch.testing.assert_close(torch.tensor(found, dtype=torch.double), expected, rtol=within, atol=within)


# ---------------------------------------------------------------- networks and Adam


@pytest.mark.parametrize(("normalise", "leak"), [(False, 0.2), (True, 0.0)])
@pytest.mark.parametrize("sizes", [(3, 8, 2), (2, 7, 5), (18, 64, 1)])
def test_a_network_and_its_gradients_are_those_of_pytorch(run, sizes, normalise, leak):
    torch.manual_seed(0)
    before, _, after = sizes
    network = perceptron(sizes, normalise, leak).double()
    inputs = torch.randn(13, before, dtype=torch.double, requires_grad=True)
    slopes = torch.randn(13, after, dtype=torch.double)
    found = run(
        "network",
        sizes=sizes,
        options={"normalise": normalise, "leak": leak},
        parameters=list(network.parameters()),
        inputs=inputs,
        slopes=slopes,
    )
    outputs = network(inputs)
    (outputs * slopes).sum().backward()
    close(found["outputs"], outputs)
    close(found["inputGradient"], inputs.grad)
    for gradient, parameter in zip(found["gradients"], network.parameters(), strict=True):
        close(gradient, parameter.grad)
    for averages, layer in zip(found["running"], normalisations(network), strict=True):
        close(averages, torch.cat([layer.running_mean, layer.running_var]))
    close(found["inEvaluation"], network.eval()(inputs))


def perceptron(sizes, normalise, leak):
    before, width, after = sizes
    layers = []
    for inputs in (before, width):
        layers.append(nn.Linear(inputs, width))
        if normalise:
            layers.append(nn.BatchNorm1d(width))
        layers.append(nn.LeakyReLU(leak))
    return nn.Sequential(*layers, nn.Linear(width, after))


def normalisations(network):
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm1d)]


@pytest.mark.parametrize("betas", [(0.5, 0.999), (0.0, 0.9)])
def test_adam_is_that_of_pytorch(run, betas):
    torch.manual_seed(0)
    parameter = nn.Parameter(torch.randn(17, dtype=torch.double))
    optimiser = torch.optim.Adam([parameter], lr=0.01, betas=betas)
    gradients = [torch.randn(17, dtype=torch.double) * 10.0**step for step in range(-3, 4)]
    found = run("adam", value=parameter, gradients=gradients, rate=0.01, betas=betas)
    for gradient in gradients:
        parameter.grad = gradient
        optimiser.step()
    close(found, parameter)


# ---------------------------------------------------------------- the memory


@dataclass
class Rule:
    """Settings of a memory, as both sides name them, and how its slots are updated."""

    num_slots: int = 23
    top_k: int = 5
    kappa: float = 7.0
    alpha: float = 0.9
    correct_in_top: int = 5
    replace_within_label: bool = True
    update: str = "em"

    def settings(self):
        """As the engine takes them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def memory(self, key_dim):
        """As memgan has it, in float64, with counts and ages that differ."""
        kind = VMFMemory if self.update == "em" else AveragingMemory
        memory = kind(
            self.num_slots,
            key_dim,
            self.top_k,
            kappa=self.kappa,
            alpha=self.alpha,
            correct_in_top=self.correct_in_top,
            replace_within_label=self.replace_within_label,
            validate=False,
        ).double()
        memory.histogram.uniform_(0.0, 3.0)
        memory.ages.random_(0, 9)  # with ties
        memory.values.random_(0, 2)
        return memory


def state_of(memory):
    names = ("keys", "values", "ages", "histogram")
    return {name: getattr(memory, name).clone() for name in names}


KEY_DIM = 7
RULES = {
    "as in the plane": Rule(),
    "one slot vouches": Rule(correct_in_top=1),
    "two slots vouch": Rule(correct_in_top=2, kappa=20.0),
    "replaces among all": Rule(correct_in_top=1, replace_within_label=False),
    "averages": Rule(update="average", correct_in_top=2),
    "no forgetting": Rule(alpha=1.0, kappa=1.0),
    "k of N": Rule(top_k=23, correct_in_top=3),
}


def queries_of(rows):
    """Queries of any length, two of them close together, so that samples of a batch meet in slots."""
    queries = torch.randn(rows, KEY_DIM, dtype=torch.double) * torch.rand(rows, 1, dtype=torch.double) * 9
    queries[1] = 1.001 * queries[0] + 1e-3  # no exact twin: slots of equal score may come in any order
    return queries


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_read_and_its_gradient_are_those_of_the_memory(run, rule):
    torch.manual_seed(0)
    memory = rule.memory(KEY_DIM)
    queries = queries_of(11).requires_grad_()
    given = {"settings": rule.settings(), "keyDim": KEY_DIM, **state_of(memory)}
    found = run("read", queries=queries, **given)
    probability = memory.read(queries)
    probability.sum().backward()
    close(found["probabilities"], probability)
    close(found["slopes"], queries.grad)
    unit = nn.functional.normalize(queries[:1], dim=1)
    close(run("posterior", query=unit, **given), memory.posterior(unit)[0])


def test_where_d_is_clipped_its_gradient_is_zero(run):
    torch.manual_seed(0)
    rule = Rule(kappa=300.0)
    memory = rule.memory(KEY_DIM)
    queries = memory.keys[:9].clone().requires_grad_()
    found = run("read", queries=queries, settings=rule.settings(), keyDim=KEY_DIM, **state_of(memory))
    probability = memory.read(queries)
    assert ((probability == memory.epsilon) | (probability == 1 - memory.epsilon)).any()
    probability.sum().backward()
    close(found["slopes"], queries.grad)


@pytest.mark.parametrize("kind", ["density", "posterior"])
def test_the_information_terms_and_their_gradients_are_those_of_memgan(run, kind):
    torch.manual_seed(0)
    rule = Rule()
    memory = rule.memory(KEY_DIM)
    queries = queries_of(11).requires_grad_()
    _, slots = memory.sample(11)
    given = {"settings": rule.settings(), "keyDim": KEY_DIM, **state_of(memory)}
    found = run("information", queries=queries, slots=slots, kind=kind, weight=0.7, **given)
    if kind == "density":
        loss = information_loss(memory.keys[slots], queries, rule.kappa)
    else:
        loss = posterior_information_loss(memory, slots, queries)
    (0.7 * loss).backward()
    assert found["loss"] == pytest.approx(loss.item(), rel=1e-12)
    close(found["slopes"], queries.grad)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_writes_are_those_of_the_memory(run, rule):
    """Six batches, with collisions and with samples that replace."""
    torch.manual_seed(0)
    memory = rule.memory(KEY_DIM)
    before = state_of(memory)
    batches = []
    for _ in range(6):
        batches.append({"queries": queries_of(9), "labels": torch.randint(0, 2, (9,))})
    found = run("write", batches=batches, settings=rule.settings(), keyDim=KEY_DIM, **before)
    replaced = 0
    for batch, after in zip(batches, found, strict=True):
        memory.write(**batch)
        for name, expected in state_of(memory).items():
            close(after[name], expected)
        replaced += len(after["replaced"])
    if rule.correct_in_top < rule.top_k:
        assert replaced > 0  # so that the replacement was compared, too


def test_more_samples_than_slots_to_replace_leave_the_rest_out(run):
    torch.manual_seed(0)
    rule = Rule(num_slots=6, top_k=1, correct_in_top=1)
    memory = rule.memory(KEY_DIM)
    memory.values.copy_(torch.tensor([1, 0, 0, 0, 0, 0]))
    memory.keys[0] = -memory.keys[1]
    queries = memory.keys[1] + 0.01 * torch.randn(5, KEY_DIM, dtype=torch.double)
    batch = {"queries": queries, "labels": torch.ones(5, dtype=torch.long)}
    (after,) = run("write", batches=[batch], settings=rule.settings(), keyDim=KEY_DIM, **state_of(memory))
    memory.write(**batch)
    for name, expected in state_of(memory).items():
        close(after[name], expected)
    assert after["replaced"] == [0]


def test_slots_are_drawn_by_their_probabilities(run):
    torch.manual_seed(0)
    rule = Rule()
    memory = rule.memory(KEY_DIM)
    uniforms = (torch.arange(20_000, dtype=torch.double) + 0.5) / 20_000
    drawn = run("sample", uniforms=uniforms, settings=rule.settings(), keyDim=KEY_DIM, **state_of(memory))
    shares = torch.bincount(torch.tensor(drawn), minlength=rule.num_slots) / 20_000
    close(shares.tolist(), memory.slot_probabilities(), within=1e-4)


# ---------------------------------------------------------------- whole steps


class Recorded:
    """Remembers the random numbers of each batch that a model draws, for the engine to draw the same."""

    def __init__(self, gan):
        self.gan = gan
        self.generated = []
        self.blurs = []
        generate = gan.generate

        def remembered(number):
            made = generate(number)
            self.generated.append({"noise": made.noise, "slots": made.slots.clone()})
            return made

        gan.generate = remembered
        gan.inference = RecordedEncoder(gan.inference, self.blurs)

    def draws(self):
        """The draws of the last step, as the engine takes them."""
        first, second = self.generated[-2:]
        of_real, of_first, of_second = self.blurs[-3:]
        return {"real": {"blur": of_real}, "first": first | {"blur": of_first}, "second": second | {"blur": of_second}}


class RecordedEncoder(nn.Module):
    """An encoder whose inputs are blurred here, by normal numbers that are kept."""

    def __init__(self, encoder, blurs):
        super().__init__()
        self.encoder = encoder
        self.blurs = blurs
        self.blur = 0.3

    def forward(self, points):
        if not self.training:
            return self.encoder(points)
        normals = torch.randn_like(points)
        self.blurs.append(normals)
        return self.encoder(points + self.blur * normals)


PLANE_RULE = {
    "num_slots": 128,
    "top_k": 8,
    "kappa": 15.0,
    "alpha": 0.9,
    "correct_in_top": 8,
    "replace_within_label": True,
}
ON = {"memory": True, "update": "em", "mcgn": True, "information": "posterior", "mi_weight": 1.0}
SETTINGS = {
    "the defaults": PLANE_RULE | ON,
    "the paper's term": PLANE_RULE | ON | {"information": "density", "mi_weight": 0.05},
    "no information term": PLANE_RULE | ON | {"information": "none"},
    "averaging": PLANE_RULE | ON | {"update": "average"},
    "one slot vouches": PLANE_RULE | ON | {"correct_in_top": 1},
    "without MCGN": PLANE_RULE | ON | {"mcgn": False},
}
RATES = {"discriminator": 1e-4, "generator": 1e-3}


def memory_gan(settings):
    """MemoryGAN in the plane with these settings, in float64."""
    gan = plane.memory_gan(plane.PlaneMemorySettings())
    rule = Rule(update=settings["update"], **{name: settings[name] for name in PLANE_RULE})
    histogram = gan.memory.histogram.double()
    gan.memory = rule.memory(16)
    gan.memory.histogram.copy_(histogram)
    gan.memory.values.copy_(torch.arange(128) < 64)
    gan.memory.ages.zero_()
    return gan.double()


def trained(gan, number, training):
    """What the engine needs to do the same `number` steps as PyTorch does here."""
    recorded = Recorded(gan)
    optimisers = adam_optimisers(gan, training)
    given = {"encoder": list(gan.inference.parameters()), "generator": list(gan.generator.parameters())}
    given = plain(given)
    if hasattr(gan, "memory"):
        given["memory"] = plain(state_of(gan.memory))
    batches = []
    numbers = []
    gan.train()
    for _ in range(number):
        points = plane.real_points(BATCH).double()
        numbers.append(training_step(gan, points, optimisers, training))
        batches.append(plain({"points": points, "draws": recorded.draws()}))
    gan.eval()
    return given | {"batches": batches, "blur": recorded.gan.inference.blur}, numbers


PROBES = torch.cartesian_prod(torch.linspace(-3, 3, 9), torch.linspace(-3, 3, 9)).double()


@pytest.mark.parametrize("number", [1, 50])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_training_steps_of_memorygan_are_those_of_training_step(run, settings, number):
    torch.manual_seed(0)
    gan = memory_gan(settings)
    has_term = settings["information"] != "none" and settings["mcgn"]
    training = TrainingSettings(
        steps=number,
        batch_size=BATCH,
        generator_lr=RATES["generator"],
        discriminator_lr=RATES["discriminator"],
        information="density" if settings["information"] == "density" else "posterior",
        mi_weight=settings["mi_weight"] if has_term else 0.0,
    )
    if not settings["mcgn"]:
        gan.generator.scale = 0.0  # the engine keeps the key's inputs, and gives zeros
    given, numbers = trained(gan, number, training)
    found = run("steps", model="memory", settings=settings, rates=RATES, probes=PROBES, **given)
    compare(found, gan, numbers, number)
    for name, expected in state_of(gan.memory).items():
        close(found["memory"][name], expected, within=1e-9 if number == 1 else 1e-6)


@pytest.mark.parametrize("number", [1, 50])
def test_training_steps_of_the_ordinary_gan_are_those_of_training_step(run, number):
    torch.manual_seed(0)
    gan = plane.plain_gan(plane.PlainSettings()).double()
    training = TrainingSettings(
        steps=number,
        batch_size=BATCH,
        generator_lr=RATES["generator"],
        discriminator_lr=RATES["discriminator"],
        mi_weight=0.0,
    )
    given, numbers = trained(gan, number, training)
    found = run("steps", model="ordinary", settings={}, rates=RATES, probes=PROBES, **given)
    compare(found, gan, numbers, number)


def compare(found, gan, numbers, number):
    """The numbers of each step, all parameters and running averages, and D on a grid of points."""
    within = 1e-9 if number == 1 else 1e-6
    for step, expected in zip(found["numbers"], numbers, strict=True):
        of_step = [step[name] for name in ("lossD", "lossG", "real", "generated")]
        close(of_step, torch.stack(list(expected)), within=within)
    for network in ("encoder", "generator"):
        module = gan.inference if network == "encoder" else gan.generator
        for values, parameter in zip(found[network], module.parameters(), strict=True):
            close(values, parameter, within=within)
    for averages, layer in zip(found["running"], normalisations(gan.generator), strict=True):
        close(averages, torch.cat([layer.running_mean, layer.running_var]), within=within)
    close(found["discriminated"], gan.discriminate(PROBES), within=within)
    assert math.isfinite(sum(found["discriminated"]))


# ---------------------------------------------------------------- the same in a browser


@pytest.mark.browser
def test_chromium_gives_what_node_gives(run):
    torch.manual_seed(0)
    settings = SETTINGS["the defaults"]
    training = TrainingSettings(steps=20, batch_size=BATCH, generator_lr=1e-3, discriminator_lr=1e-4)
    given, _ = trained(memory_gan(settings), 20, training)
    given = plain({"model": "memory", "settings": settings, "rates": RATES, "probes": PROBES, **given})
    with chromium() as browser:
        texts = [script("playground/engine.js"), CASES.read_text(encoding="utf-8")]
        in_page = browser.new_page().evaluate(IN_PAGE, [*texts, "steps", given])
    under_node = run("steps", **given)
    close(in_page["discriminated"], torch.tensor(under_node["discriminated"], dtype=torch.double), within=1e-12)
    close(in_page["memory"]["keys"], torch.tensor(under_node["memory"]["keys"], dtype=torch.double), within=1e-12)
