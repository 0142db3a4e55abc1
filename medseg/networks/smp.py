"""2-D networks of segmentation-models-pytorch: an image-classification encoder with a decoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medseg.networks.encoders import check_encoder, load_encoder
from medseg.networks.network import SegmentationNetwork, invalid

DECODER_CHANNELS = (256, 128, 64, 32, 16)
"""Features of a U-Net's decoder, from the coarsest level to the full resolution."""


def smp_unet(
    in_channels: int,
    out_channels: int,
    spatial_dims: int,
    *,
    encoder: str = "resnet18",
    encoder_weights: str | None = None,
    depth: int = 5,
    decoder_channels: list[int] | None = None,
) -> SegmentationNetwork:
    """Build a U-Net: the first choice in 2-D.

    Args:
        in_channels: Image channels.
        out_channels: Logits a pixel.
        spatial_dims: Must be 2.
        encoder: Name of an encoder of segmentation-models-pytorch, or `tu-` and a name of timm.
        encoder_weights: null for random ones, `imagenet` to download, or the path of a state dict (.pth, .safetensors).
        depth: Number of times the encoder halves the resolution.
        decoder_channels: Features of the decoder's levels, coarsest first; null takes the last `depth` of 256, 128, 64, 32, 16.
    """
    options = {"decoder_channels": _decoder_channels(decoder_channels, depth)}
    return _build("Unet", in_channels, out_channels, spatial_dims, encoder, encoder_weights, depth, options)


def smp_unetplusplus(
    in_channels: int,
    out_channels: int,
    spatial_dims: int,
    *,
    encoder: str = "resnet18",
    encoder_weights: str | None = None,
    depth: int = 5,
    decoder_channels: list[int] | None = None,
) -> SegmentationNetwork:
    """Build a U-Net++: nested skip connections, about twice the time of a U-Net. Arguments as in `smp_unet`."""
    options = {"decoder_channels": _decoder_channels(decoder_channels, depth)}
    return _build("UnetPlusPlus", in_channels, out_channels, spatial_dims, encoder, encoder_weights, depth, options)


def smp_manet(
    in_channels: int,
    out_channels: int,
    spatial_dims: int,
    *,
    encoder: str = "resnet18",
    encoder_weights: str | None = None,
    depth: int = 5,
    decoder_channels: list[int] | None = None,
) -> SegmentationNetwork:
    """Build a MA-Net: a U-Net with attention across positions and scales. Arguments as in `smp_unet`."""
    options = {"decoder_channels": _decoder_channels(decoder_channels, depth)}
    return _build("MAnet", in_channels, out_channels, spatial_dims, encoder, encoder_weights, depth, options)


def smp_fpn(
    in_channels: int, out_channels: int, spatial_dims: int, *, encoder: str = "resnet18", encoder_weights: str | None = None
) -> SegmentationNetwork:
    """Build a feature pyramid network. Its logits are enlarged four times: not for lesions of a few pixels. Arguments as in `smp_unet`."""
    return _build("FPN", in_channels, out_channels, spatial_dims, encoder, encoder_weights, 5, {})


def smp_deeplabv3plus(
    in_channels: int, out_channels: int, spatial_dims: int, *, encoder: str = "resnet18", encoder_weights: str | None = None
) -> SegmentationNetwork:
    """Build a DeepLabV3+, with dilated convolutions for a wide view. Arguments as in `smp_unet`.

    Its logits are enlarged four times: not for lesions of a few pixels. Training needs at least 2 images a batch, for its batch norm over
    whole images.
    """
    return _build("DeepLabV3Plus", in_channels, out_channels, spatial_dims, encoder, encoder_weights, 5, {})


def smp_segformer(
    in_channels: int, out_channels: int, spatial_dims: int, *, encoder: str = "mit_b0", encoder_weights: str | None = None
) -> SegmentationNetwork:
    """Build a SegFormer: a transformer encoder (`mit_b0` to `mit_b5`) with a light decoder. Arguments as in `smp_unet`.

    Its logits are enlarged four times: not for lesions of a few pixels.
    """
    return _build("Segformer", in_channels, out_channels, spatial_dims, encoder, encoder_weights, 5, {})


def _build(
    architecture: str,
    in_channels: int,
    out_channels: int,
    spatial_dims: int,
    encoder: str,
    encoder_weights: str | None,
    depth: int,
    options: dict[str, Any],
) -> SegmentationNetwork:
    if spatial_dims != 2:
        raise invalid(
            "name",
            f"smp_{architecture.lower()} is a 2-D network, the patch has {spatial_dims} axes",
            "use unet, dynunet or segresnet, or a data.patch_size of 2 numbers",
        )
    import segmentation_models_pytorch as smp

    check_encoder(encoder)
    download: str | bool | None = None
    if encoder_weights == "imagenet":
        download = True if encoder.startswith("tu-") else "imagenet"
    try:
        body = getattr(smp, architecture)(
            encoder_name=encoder,
            encoder_depth=depth,
            encoder_weights=download,
            in_channels=in_channels,
            classes=out_channels,
            **options,
        )
    except (ValueError, KeyError) as error:
        raise invalid("params", f"{architecture} cannot be built with encoder {encoder}: {error.args[0]}") from error
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise invalid(
            "params.encoder_weights",
            f"imagenet weights of {encoder} cannot be downloaded: {reason}",
            "give the path of a state dict, or null",
        ) from error
    if encoder_weights is not None and download is None:
        load_encoder(body.encoder, Path(encoder_weights).expanduser(), in_channels)
    divisor = (int(body.encoder.output_stride),) * 2
    return SegmentationNetwork(body, spatial_dims=2, in_channels=in_channels, out_channels=out_channels, divisor=divisor)


def _decoder_channels(channels: list[int] | None, depth: int) -> tuple[int, ...]:
    if not 3 <= depth <= len(DECODER_CHANNELS):
        raise invalid("params.depth", f"must be from 3 to {len(DECODER_CHANNELS)}, got {depth}")
    chosen = DECODER_CHANNELS[-depth:] if channels is None else tuple(channels)
    if len(chosen) != depth:
        raise invalid("params.decoder_channels", f"needs {depth} numbers (depth), got {list(chosen)}")
    return chosen
