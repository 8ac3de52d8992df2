"""Description of the API: OpenAPI document, examples, the cloud's operations and their coverage."""
