"""What reserved machines cost in money."""

from __future__ import annotations


def priced(price: float, *, gpu_hours: float, cpu_hours: float) -> str:
    """Money for reserved hours, in words: GPU-hours are paid, or core-hours where no GPU is reserved at all.

    Args:
        price: Of an hour, at least 0, in any currency.
        gpu_hours: Reserved GPUs times hours, at least 0; the cores beside them are part of their price.
        cpu_hours: Reserved cores times hours, at least 0.

    Example:
        >>> priced(2.5, gpu_hours=12, cpu_hours=96)
        'price 30.00 at 2.50 per GPU-hour'
        >>> priced(0.04, gpu_hours=0, cpu_hours=96)
        'price 3.84 at 0.04 per CPU-core-hour'
        >>> priced(0.0375, gpu_hours=0, cpu_hours=96)
        'price 3.60 at 0.0375 per CPU-core-hour'
    """
    hours, unit = (gpu_hours, "GPU-hour") if gpu_hours else (cpu_hours, "CPU-core-hour")
    rate = f"{price:.2f}" if round(price, 2) == price else f"{price:g}"
    return f"price {price * hours:.2f} at {rate} per {unit}"
