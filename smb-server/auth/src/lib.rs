//! SPNEGO, NTLMv2, key derivation, signing and sealing; pure.
