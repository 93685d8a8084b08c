"""torch.compile: drawing and judging images in one graph, for batches whose size changes."""

import pytest
import torch
from gan_builders import random_images, tiny_gan

pytestmark = [pytest.mark.thorough, pytest.mark.filterwarnings("default")]  # a compiler's own warnings are not ours
SIZES = (16, 16, 7, 16, 5)
# Both trace the same graph; machine code takes a C++ compiler half a minute the first time
backends = pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@backends
def test_images_are_drawn_in_one_graph_for_any_number(backend):
    gan = tiny_gan().eval()
    compiled = torch.compile(gan.generate, fullgraph=True, backend=backend)
    for size in SIZES:
        made = compiled(size)
        assert made.images.shape == (size, 3, 4, 4) and made.slots.shape == (size,)
        assert torch.equal(made.keys, gan.memory.keys[made.slots]) and bool((gan.memory.values[made.slots] == 1).all())
        assert bool((made.noise.abs() <= 1).all()) and len(made.noise.unique(dim=0)) == size
        torch.testing.assert_close(made.images, gan.generator(made.keys, made.noise), rtol=1e-4, atol=1e-5)


@backends
def test_as_many_images_as_there_are_real_ones_are_drawn_in_one_graph(backend):
    gan = tiny_gan().eval()
    compiled = torch.compile(lambda images: gan.generate(len(images)).images, fullgraph=True, backend=backend)
    for size in SIZES:
        assert compiled(random_images(size)).shape == (size, 3, 4, 4)


@backends
def test_images_are_judged_in_one_graph_with_their_gradient(backend):
    gan = tiny_gan().eval()
    compiled = torch.compile(gan.discriminate, fullgraph=True, backend=backend)
    for size in SIZES:
        plain_images = random_images(size, seed=size).requires_grad_()
        images = plain_images.detach().clone().requires_grad_()
        probability = compiled(images)
        expected = gan.discriminate(plain_images)
        torch.testing.assert_close(probability, expected, rtol=1e-4, atol=1e-5)
        probability.sum().backward()
        expected.sum().backward()
        torch.testing.assert_close(images.grad, plain_images.grad, rtol=1e-3, atol=1e-5)
