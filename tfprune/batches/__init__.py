"""Data that users give, read and checked before TensorFlow sees them: forms, inputs, labels.

All functions that take data go through this package. `Source` reads the usual forms of data batch by batch;
`InputCheck` holds inputs against those of a model, `LabelCheck` labels against a loss; `input_batches` reads and checks
inputs alone. What arrays hold is checked by `tfprune.arrays`.
"""
