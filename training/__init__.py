"""How sparse autoencoders are fitted: the harvest of MLP0 outputs, the fit, the tracking."""
