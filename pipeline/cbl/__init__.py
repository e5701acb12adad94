"""Customer baseline load: rules as data, and two engines that follow them (README.md)."""
