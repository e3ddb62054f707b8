"""Files to nouns and back: spectra, maps, angles, volumes, reports, projects; read safely, written whole."""
