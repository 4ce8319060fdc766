from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from rddm.nets import NETWORKS, UNet

SMALL = {"channels": 8}


@pytest.mark.parametrize("name", list(NETWORKS))
@pytest.mark.parametrize("outputs", [3, 6])
def test_shapes_and_finite_gradients(name: str, outputs: int) -> None:
    torch.manual_seed(0)
    net = NETWORKS[name](6, outputs, **SMALL)
    side = 3 * net.size_multiple
    x = torch.randn(2, 6, side, 2 * side)
    y = net(x, torch.tensor([0.1, 1.0]))
    assert y.shape == (2, outputs, side, 2 * side)
    assert net.starts_at_zero != bool(y.any())
    (y - 1).square().mean().backward()
    gradients = [p.grad for p in net.parameters() if p.grad is not None]
    assert gradients
    assert all(torch.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_a_network_learns_and_sees_the_time(name: str) -> None:
    """After a few steps the output depends on the input and on the time."""
    torch.manual_seed(0)
    net = NETWORKS[name](6, 3, **SMALL)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    x, time = torch.randn(4, 6, 16, 16), torch.tensor([0.0, 0.3, 0.6, 1.0])
    target = x[:, :3] * time[:, None, None, None]
    losses = []
    for _ in range(30):
        loss = (net(x, time) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert not torch.allclose(net(x, time), net(x, time.flip(0)), atol=1e-3)


def test_channels_last_changes_nothing() -> None:
    torch.manual_seed(0)
    net = UNet(6, 3, channels=8)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    x, time = torch.randn(1, 6, 32, 32), torch.tensor([0.5])
    before = net(x, time)
    after = net.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last), time)  # type: ignore[call-overload]
    torch.testing.assert_close(before, after, atol=1e-5, rtol=1e-5)


def test_squares_of_pixels_as_channels_keep_the_size_and_every_pixel_counts() -> None:
    torch.manual_seed(0)
    net = UNet(6, 3, channels=8, multipliers=(1, 2), patch_px=2)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    x = torch.randn(1, 6, 8, 12, requires_grad=True)
    y = net(x, torch.tensor([0.5]))
    assert (net.size_multiple, y.shape) == (4, (1, 3, 8, 12))
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert (gradient != 0).all()
    with pytest.raises(ValueError, match="patch_px is 0"):
        UNet(6, 3, patch_px=0)


COMPILE = """
import torch
from rddm.nets import NETWORKS

torch.manual_seed(0)
for name in ("tiny", "unet"):
    net = NETWORKS[name](6, 3, channels=8).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    x, time = torch.randn(1, 6, 4 * net.size_multiple, 6 * net.size_multiple), torch.tensor([0.5])
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x, time), net(x, time), atol=1e-5, rtol=1e-5)
"""


def test_our_networks_compile_as_one_graph() -> None:
    """In a process of its own, because what checks shapes while tests run cannot be traced."""
    done = subprocess.run([sys.executable, "-c", COMPILE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("multipliers", [(), (1, 1, 1, 1, 1, 1)])
def test_an_impossible_depth_is_refused(multipliers: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected 1 to 5"):
        UNet(6, 3, multipliers=multipliers)


@pytest.mark.parametrize("name", ["unet", "official_unet"])
@pytest.mark.parametrize("arrangement", ["one", "shared_encoder", "two"])
def test_two_outputs_come_from_one_network_one_encoder_or_two_networks(name: str, arrangement: str) -> None:
    torch.manual_seed(0)
    net = NETWORKS[name](6, 6, channels=8, multipliers=(1, 2), arrangement=arrangement)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    x = torch.randn(2, 6, 16, 24)
    same = net(x, torch.tensor([0.25, 0.5]))
    assert same.shape == (2, 6, 16, 24)
    if arrangement == "two":
        apart = net(x, torch.tensor([[0.25, 0.9], [0.5, 0.9]]))
        torch.testing.assert_close(apart[:, :3], same[:, :3])
        assert not torch.allclose(apart[:, 3:], same[:, 3:], atol=1e-6)
        with pytest.raises(ValueError, match="time has shape"):
            net(x, torch.zeros(2, 3))


@pytest.mark.parametrize("name", ["unet", "official_unet"])
@pytest.mark.parametrize("arrangement", ["shared_encoder", "two"])
def test_an_odd_output_cannot_be_shared(name: str, arrangement: str) -> None:
    with pytest.raises(ValueError, match=r"7 channels|out_channels is 7"):
        NETWORKS[name](6, 7, channels=8, arrangement=arrangement)


def test_memory_of_the_default_network_grows_with_the_pixels_and_not_with_their_square() -> None:
    """What the attention holds for a picture of 16 times the pixels is 16 times as much, not 256 times."""
    net = UNet(6, 3, channels=8, multipliers=(1, 2), patch_px=4).eval()
    largest: dict[int, int] = {}
    for side in (64, 256):
        seen: list[int] = []
        hooks = [
            module.register_forward_hook(lambda _m, _i, out, seen=seen: seen.append(out.numel()))
            for module in net.modules()
        ]
        with torch.no_grad():
            net(torch.zeros(1, 6, side, side), torch.tensor([0.5]))
        largest[side] = max(seen)
        for hook in hooks:
            hook.remove()
    assert largest[256] == 16 * largest[64]
