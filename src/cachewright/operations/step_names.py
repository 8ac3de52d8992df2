"""Names of steps and sub-steps that more than one operation has."""

PRE_CHECK = "Pre-check."
POST_CHECK = "Post-check."
RESOURCE_CHECK = "Resource check."
NODE_RESTART = "Node restart."
