"""The settings of reject; ``siod.dminer.mining.reject`` has its equation."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, NonNegativeInt

from siod.value import Value

Share = Annotated[float, Field(gt=0, lt=1)]


class Reject(Value):
    """Leave the hardest unlabelled entries out of the negative loss; it starts when ``start_epoch`` epochs are done.

    Shares are of the unlabelled entries (position and class) of the classes that may have instances without a box, for
    each image and level: ``growth`` in the first epoch, ``growth`` more in each later one, ``max_share`` at most. With
    three such classes the default of 0.01 is about 16 entries an image on 24 x 24 positions (CenterNet on digits); with
    COCO's 2.9 classes it is 475 on 128 x 128, about 110 for each of the 4.4 hidden instances.
    """

    max_share: Share = 0.01
    growth: Share = 0.002
    start_epoch: NonNegativeInt = 1

    def share_at(self, epochs_done: int) -> float:
        """The share that is left out in the epoch after so many.

        Args:
            epochs_done: Whole epochs of the run, at least 0.

        Returns:
            In [0, max_share]; 0 before ``start_epoch`` epochs are done.

        Source: Kim et al., Large Loss Matters in Weakly Supervised Multi-Label Classification (LL-R), CVPR
            2022.

        Example:
            >>> [Reject(max_share=0.01, growth=0.004).share_at(epochs_done) for epochs_done in range(5)]
            [0.0, 0.004, 0.008, 0.01, 0.01]
        """
        return min(self.max_share, self.growth * max(0, epochs_done - self.start_epoch + 1))
