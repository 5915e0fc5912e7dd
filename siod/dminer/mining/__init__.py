"""What the miners compute: prototypes, similarities, labels, the contrastive loss, how good they are."""
