"""What a sparse autoencoder is: the architectures, the ensemble, the SAELens format."""
