// Random numbers from a seed, the same in every browser (sfc32 by Chris Doty-Humphrey, a generator of 128 bits).

export class Random {
  // `stream` tells apart generators of the same seed: what one draws does not change what another one draws.
  constructor(seed, stream = 0) {
    this.state = Uint32Array.of(seed, stream, 0x9e3779b9, 1);
    this.spare = null; // a normal number that was made with the last one
    for (let i = 0; i < 20; i++) this.bits();
  }

  // 32 random bits as a whole number.
  bits() {
    const state = this.state;
    const sum = (state[0] + state[1] + state[3]) | 0;
    state[3] += 1;
    state[0] = state[1] ^ (state[1] >>> 9);
    state[1] = state[2] + (state[2] << 3);
    state[2] = ((state[2] << 21) | (state[2] >>> 11)) + sum;
    return sum >>> 0;
  }

  // A number in [0, 1).
  uniform() {
    return this.bits() / 2 ** 32;
  }

  // A number from the standard normal distribution, by the Box-Muller transform, which makes two at a time.
  normal() {
    if (this.spare !== null) {
      const spare = this.spare;
      this.spare = null;
      return spare;
    }
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    const angle = 2 * Math.PI * this.uniform();
    this.spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  }

  // Numbers in [-1, 1).
  noise(length) {
    return Float64Array.from({ length }, () => 2 * this.uniform() - 1);
  }

  normals(length) {
    return Float64Array.from({ length }, () => this.normal());
  }
}
