"""How the demo's CLAP model is made and measured: music, captions, model, scores."""
