"""Small models that together use every rule; each is a function that builds one."""

import keras

layers = keras.layers
ops = keras.ops


def shuffled_channels():
    def unit(x, width):
        left, right = ops.split(x, 2, axis=-1)
        right = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(width // 2, 1, use_bias=False)(right)))
        right = layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same")(right))
        x = layers.Concatenate()([left, layers.ReLU()(layers.Conv2D(width // 2, 1)(right))])
        _, height, breadth, _ = x.shape
        x = layers.Permute((1, 2, 4, 3))(layers.Reshape((height, breadth, 2, width // 2))(x))
        return layers.Reshape((height, breadth, width))(x)

    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(16, 3, padding="same")(inputs)
    x = unit(unit(x, 16), 16)
    return keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling2D()(layers.Conv2D(12, 1)(x))))


def u_net(normalization):
    inputs = keras.Input((16, 16, 3))
    first = layers.Conv2D(8, 3, padding="same", activation="relu")(inputs)
    second = layers.Conv2D(12, 3, padding="same")(layers.MaxPooling2D()(first))
    deep = layers.PReLU(shared_axes=[1, 2])(layers.Conv2D(16, 3, padding="same")(layers.MaxPooling2D()(second)))
    up = layers.Concatenate()([layers.Conv2DTranspose(8, 2, 2)(normalization()(deep)), second])
    up = layers.Concatenate()([layers.UpSampling2D()(layers.Conv2D(8, 3, padding="same")(up)), first])
    return keras.Model(inputs, layers.Conv2D(2, 1)(layers.LeakyReLU()(up)))


def u_net_of_groups():
    return u_net(lambda: layers.GroupNormalization(4))


def u_net_of_instances():
    return u_net(lambda: layers.GroupNormalization(-1))


def grouped_and_separable():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(16, 3, padding="same")(inputs)
    y = layers.BatchNormalization()(layers.Conv2D(24, 3, padding="same", groups=4)(layers.Conv2D(16, 1)(x)))
    x = layers.Add()([x, layers.Conv2D(16, 1)(y)])
    x = layers.DepthwiseConv2D(3, 2, depth_multiplier=2)(x)
    x = layers.SeparableConv2D(10, 3, depth_multiplier=2)(x)
    heads = [layers.Dense(5)(layers.Dense(12, "relu")(layers.Flatten()(x)))]
    heads.append(layers.Dense(3)(layers.GlobalMaxPooling2D()(x)))
    return keras.Model(inputs, heads)


def transformer(normalization=layers.LayerNormalization):
    inputs = keras.Input((6,), dtype="int32")
    x = layers.Embedding(10, 12, mask_zero=normalization is layers.LayerNormalization)(inputs)
    for _ in range(2):
        y = normalization()(x)
        x = x + layers.MultiHeadAttention(3, 4, value_dim=5)(y, y, use_causal_mask=True)
        y = layers.Dense(20, activation="gelu")(normalization()(x))
        x = layers.Add()([x, layers.Dense(12)(y)])
    return keras.Model(inputs, layers.Dense(5)(x[:, -1]))


def transformer_of_root_mean_squares():
    return transformer(layers.RMSNormalization)


def recurrent():
    inputs = keras.Input((5, 6))
    x = layers.LSTM(8, return_sequences=True)(inputs)
    x = layers.GRU(7, return_sequences=True)(x)
    return keras.Model(inputs, layers.Dense(4)(layers.SimpleRNN(6)(x)))


def shared_towers():
    first, second = keras.Input((8,)), keras.Input((8,))
    shared = layers.Dense(10, activation="relu")
    tower = keras.Sequential([layers.Dense(9, activation="relu"), layers.Dense(7)], name="tower")
    joined = layers.Concatenate()([tower(shared(first)), tower(shared(second))])
    return keras.Model([first, second], layers.Dense(3)(joined))


def nested_models():
    inner_inputs = keras.Input((6, 6, 8))
    y = layers.Conv2D(8, 3, padding="same")(layers.BatchNormalization()(inner_inputs))
    inner = keras.Model(inner_inputs, layers.Add()([inner_inputs, y]), name="inner")
    deepest = keras.Sequential([layers.Conv2D(6, 1), layers.ReLU()], name="deepest")
    last = keras.Sequential([keras.Input((6, 6, 8)), layers.Conv2D(7, 3), deepest], name="last")
    inputs = keras.Input((6, 6, 3))
    x = inner(inner(layers.Conv2D(8, 3, padding="same")(inputs)))
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(last(x))))


def one_and_three_dimensions():
    inputs = keras.Input((12, 4))
    x = layers.SeparableConv1D(10, 3)(layers.Conv1D(8, 3)(inputs))
    x = layers.DepthwiseConv1D(3)(layers.Conv1DTranspose(12, 3)(x))
    x = layers.Reshape((4, 2, 1, 12))(x[:, :8])
    x = layers.AveragePooling3D(1)(layers.Conv3DTranspose(5, 1)(layers.Conv3D(6, 1)(x)))
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))


def bare_operations():
    inputs = keras.Input((6,))
    x = layers.Reshape((3, 3, 10))(layers.Dense(90, activation="relu")(inputs))
    x = ops.relu(layers.Conv2DTranspose(9, 3)(x)[..., 2:])
    first, second = ops.split(x, [3], axis=-1)
    x = ops.concatenate([second, first * 2.0], axis=-1)
    x = ops.transpose(ops.transpose(x, (0, 3, 1, 2)), (0, 2, 3, 1))
    x = ops.mean(ops.reshape(x, (-1, 25, 7)), axis=1)
    x = layers.EinsumDense("ab,bcd->acd", output_shape=(4, 6))(x)[:, 0]
    return keras.Model(inputs, layers.EinsumDense("ab,bc->ac", output_shape=3, bias_axes="c")(x))


def depth_and_space():
    inputs = keras.Input((4, 4, 3))
    x = ops.nn.depth_to_space(layers.Conv2D(16, 3, padding="same", activation="relu")(inputs), 2)
    x = layers.Conv2D(6, 1)(ops.nn.space_to_depth(x, 2))
    x = layers.Permute((1, 3, 2, 4, 5))(layers.Reshape((4, 4, 2, 2, 2))(layers.Conv2D(8, 1)(x)))
    return keras.Model(inputs, layers.Conv2D(2, 1)(layers.Resizing(6, 6)(layers.Reshape((8, 8, 2))(x))))


def excited():
    inputs = keras.Input((6, 6, 3))
    x = layers.Rescaling(0.5)(inputs)
    x = layers.Activation("swish")(layers.BatchNormalization()(layers.Conv2D(10, 3)(x)))
    s = layers.Reshape((1, 1, 10))(layers.GlobalAveragePooling2D()(x))
    s = layers.Conv2D(10, 1, activation="sigmoid")(layers.Conv2D(4, 1, activation="relu")(s))
    x = layers.Multiply()([x, s])
    x = x + layers.Dense(10)(layers.LayerNormalization()(layers.Conv2D(10, 3, padding="same", groups=10)(x)))
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D(keepdims=True)(x)))


ZOO = (
    shuffled_channels,
    u_net_of_groups,
    u_net_of_instances,
    grouped_and_separable,
    transformer,
    transformer_of_root_mean_squares,
    recurrent,
    shared_towers,
    nested_models,
    one_and_three_dimensions,
    bare_operations,
    depth_and_space,
    excited,
)
