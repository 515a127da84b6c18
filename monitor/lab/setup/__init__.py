"""From a model, an SAE and labelled texts to a working folder with sets of your own."""
