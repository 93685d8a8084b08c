// What the tests of the playground's engine ask of it: each case takes plain lists and gives plain lists back.
const lists = (arrays) => Object.fromEntries(Object.entries(arrays).map(([name, numbers]) => [name, Array.from(numbers)]));

function load(parameters, values) {
  parameters.forEach(({ value }, i) => value.set(values[i]));
}

// A network on one batch, there and back: outputs, the gradients of the parameters and of the input, running averages.
function network(engine, { sizes, options, parameters, inputs, slopes }) {
  const [before, width, after] = sizes;
  const net = engine.perceptron(before, width, after, new engine.Random(0), options);
  load(net.parameters, parameters);
  const rows = inputs.length / before;
  const tape = net.tape(rows);
  tape.input.set(inputs);
  const outputs = Array.from(net.forward(tape, true));
  tape.outputGradient.set(slopes);
  net.backward(tape);
  tape.input.set(inputs);
  const inEvaluation = Array.from(net.forward(tape, false));
  const gradients = net.parameters.map(({ gradient }) => Array.from(gradient));
  const running = net.layers.filter((layer) => layer.runningMean).map((layer) => [...layer.runningMean, ...layer.runningVariance]);
  return { outputs, inEvaluation, gradients, running, inputGradient: Array.from(tape.inputGradient) };
}

function adam(engine, { value, gradients, rate, betas }) {
  const parameter = { value: Float64Array.from(value), gradient: new Float64Array(value.length) };
  const optimiser = new engine.Adam([parameter], ...betas);
  for (const gradient of gradients) {
    parameter.gradient.set(gradient);
    optimiser.step(rate);
  }
  return Array.from(parameter.value);
}

function memoryOf(engine, { settings, keyDim, keys, values, ages, histogram }) {
  const memory = new engine.Memory(values.length, keyDim, settings, new engine.Random(0));
  for (const [name, numbers] of Object.entries({ keys, values, ages, histogram })) memory[name].set(numbers);
  return memory;
}

const stateOf = ({ keys, values, ages, histogram }) => lists({ keys, values, ages, histogram });

function read(engine, { queries, ...state }) {
  const rows = queries.length / state.keyDim;
  const slopes = new Float64Array(queries.length);
  const probabilities = memoryOf(engine, state).read(Float64Array.from(queries), rows, slopes);
  return lists({ probabilities, slopes });
}

function posterior(engine, { query, ...state }) {
  return Array.from(memoryOf(engine, state).posterior(Float64Array.from(query)));
}

function information(engine, { queries, slots, kind, weight, ...state }) {
  const slopes = new Float64Array(queries.length);
  const loss = memoryOf(engine, state)[`${kind}Information`](slots, Float64Array.from(queries), slots.length, weight, slopes);
  return { loss, slopes: Array.from(slopes) };
}

// Several batches one after another; the state after each, and which slots were replaced.
function write(engine, { batches, ...state }) {
  const memory = memoryOf(engine, state);
  return batches.map(({ queries, labels }) => {
    const replaced = memory.write(Float64Array.from(queries), labels.length, labels);
    return { ...stateOf(memory), replaced };
  });
}

function sample(engine, { uniforms, ...state }) {
  return Array.from(memoryOf(engine, state).sample(uniforms));
}

// Training steps of one model, from given weights, on given points and random numbers.
function steps(engine, { model, settings, encoder, generator, memory, batches, rates, blur, probes }) {
  const gan = model === "ordinary" ? new engine.OrdinaryGAN(0) : new engine.MemoryGAN(0, settings);
  load(gan.encoder.parameters, encoder);
  load(gan.generator.parameters, generator);
  for (const [name, numbers] of Object.entries(memory ?? {})) gan.memory[name].set(numbers);
  const numbers = batches.map(({ points, draws }) => gan.step(points, draws, rates, blur));
  return {
    numbers,
    encoder: gan.encoder.parameters.map(({ value }) => Array.from(value)),
    generator: gan.generator.parameters.map(({ value }) => Array.from(value)),
    running: gan.generator.layers.filter((layer) => layer.runningMean).map((layer) => [...layer.runningMean, ...layer.runningVariance]),
    memory: memory && stateOf(gan.memory),
    discriminated: Array.from(gan.discriminate(Float64Array.from(probes), probes.length / 2)),
  };
}

export const cases = { network, adam, read, posterior, information, write, sample, steps };
