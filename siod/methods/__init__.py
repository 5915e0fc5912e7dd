"""Training methods beside DMiner: what a run looks at, what it adds to the loss, what it carries from step to step."""
