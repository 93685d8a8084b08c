"""torch.compile: drawing and judging images in one graph, for batches whose size changes."""

import pytest
import torch
from gan_builders import random_images, tiny_gan

pytestmark = [pytest.mark.thorough, pytest.mark.filterwarnings("default")]  # a compiler's own warnings are not ours
SIZES = (16, 16, 7, 16, 5)


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def test_images_are_drawn_in_one_graph_for_any_number():
    gan = tiny_gan().eval()
    compiled = torch.compile(gan.generate, fullgraph=True)
    for size in SIZES:
        made = compiled(size)
        assert made.images.shape == (size, 3, 4, 4) and made.slots.shape == (size,)
        assert torch.equal(made.keys, gan.memory.keys[made.slots]) and bool((gan.memory.values[made.slots] == 1).all())
        assert bool((made.noise.abs() <= 1).all()) and len(made.noise.unique(dim=0)) == size
        torch.testing.assert_close(made.images, gan.generator(made.keys, made.noise), rtol=1e-4, atol=1e-5)


def test_as_many_images_as_there_are_real_ones_are_drawn_in_one_graph():
    gan = tiny_gan().eval()
    compiled = torch.compile(lambda images: gan.generate(len(images)).images, fullgraph=True)
    for size in SIZES:
        assert compiled(random_images(size)).shape == (size, 3, 4, 4)


def test_images_are_judged_in_one_graph_with_their_gradient():
    gan = tiny_gan().eval()
    compiled = torch.compile(gan.discriminate, fullgraph=True)
    for size in SIZES:
        plain_images = random_images(size, seed=size).requires_grad_()
        images = plain_images.detach().clone().requires_grad_()
        probability = compiled(images)
        expected = gan.discriminate(plain_images)
        torch.testing.assert_close(probability, expected, rtol=1e-4, atol=1e-5)
        probability.sum().backward()
        expected.sum().backward()
        torch.testing.assert_close(images.grad, plain_images.grad, rtol=1e-3, atol=1e-5)
