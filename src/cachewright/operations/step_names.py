"""Names of steps and sub-steps that more than one operation has."""

PRE_CHECK = "Pre-check."
POST_CHECK = "Post-check."
RESOURCE_CHECK = "Resource check."
STATUS_CHECK = "Instance status check."
NODE_RESTART = "Node restart."
