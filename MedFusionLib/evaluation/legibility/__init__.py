"""What a reader must see: lesions, bone, uptake and anatomy in the fused picture."""
