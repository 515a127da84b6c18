"""What writes events where the model is served: a LiteLLM callback, an ASGI middleware, and a proxy around it."""
