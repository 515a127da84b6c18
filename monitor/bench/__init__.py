"""`latentwatch bench`: what a deployment costs on this machine, beside what one would write without latentwatch."""
