from __future__ import annotations

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
    assert not y.any(), "the output starts at 0"
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


@pytest.mark.parametrize("multipliers", [(), (1, 1, 1, 1, 1, 1)])
def test_an_impossible_depth_is_refused(multipliers: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected 1 to 5"):
        UNet(6, 3, multipliers=multipliers)
