"""SAE maths and on-disk formats."""
