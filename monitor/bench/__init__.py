"""`latentwatch bench`: what a deployment costs on this machine, compared with code that does without latentwatch."""
