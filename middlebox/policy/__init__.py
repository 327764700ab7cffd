"""Policy: rules as data (`rule`), YAML to rules (`load`), rules against flows (`match`), proof (`approval`)."""
