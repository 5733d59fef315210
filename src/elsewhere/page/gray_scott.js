/** The Gray-Scott system on a torus, as in elsewhere.morphogenesis.reaction_diffusion: explicit Euler, 5-point stencil.
 *
 *   du/dt = D_u lap(u) - u v^2 + feed (1 - u)
 *   dv/dt = D_v lap(v) + u v^2 - (feed + kill) v
 */
export class GrayScott {
  /** @param {{feed: number, kill: number, u: number[], v: number[]}} rates diffusion rates are (down, across). */
  constructor(side, rates) {
    this.side = side;
    this.rates = rates;
    this.u = new Float32Array(side * side).fill(1);
    this.v = new Float32Array(side * side);
    this.nextU = new Float32Array(side * side);
    this.nextV = new Float32Array(side * side);
  }

  /** Drops of v at random places, from a seed. */
  scatter(seed) {
    const random = generator(seed), block = 4, blocks = this.side / block;
    this.u.fill(1);
    this.v.fill(0);
    for (let i = 0; i < blocks; i++) {
      for (let j = 0; j < blocks; j++) {
        if (random() > 0.25) continue;
        for (let r = 0; r < block; r++) {
          for (let c = 0; c < block; c++) {
            const at = (i * block + r) * this.side + j * block + c;
            this.u[at] = 0.5;
            this.v[at] = 0.25 + 0.05 * random();
          }
        }
      }
    }
  }

  /** Time steps of length 1. */
  evolve(steps) {
    const { side, rates } = this, { feed, kill } = rates;
    for (let step = 0; step < steps; step++) {
      const { u, v, nextU, nextV } = this;
      for (let row = 0; row < side; row++) {
        const up = ((row + side - 1) % side) * side, here = row * side, down = ((row + 1) % side) * side;
        for (let column = 0; column < side; column++) {
          const left = here + ((column + side - 1) % side), right = here + ((column + 1) % side), at = here + column;
          const a = u[at], b = v[at], eaten = a * b * b;
          const spreadU = rates.u[0] * (u[up + column] + u[down + column] - 2 * a) + rates.u[1] * (u[left] + u[right] - 2 * a);
          const spreadV = rates.v[0] * (v[up + column] + v[down + column] - 2 * b) + rates.v[1] * (v[left] + v[right] - 2 * b);
          nextU[at] = a + spreadU - eaten + feed * (1 - a);
          nextV[at] = b + spreadV + eaten - (feed + kill) * b;
        }
      }
      [this.u, this.nextU, this.v, this.nextV] = [nextU, u, nextV, v];
    }
  }

  /** Take v out of the places where `wound` is 1. */
  wound(wound) {
    for (let i = 0; i < wound.length; i++) {
      if (!wound[i]) continue;
      this.u[i] = 1;
      this.v[i] = 0;
    }
  }

  /** v as an image in [-1, 1]. */
  image() {
    let low = Infinity, high = -Infinity;
    for (const value of this.v) {
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
    const values = new Float32Array(this.v.length), span = high - low || 1;
    for (let i = 0; i < values.length; i++) values[i] = (2 * (this.v[i] - low)) / span - 1;
    return { shape: [1, this.side, this.side], values };
  }
}

/** Random numbers from 0 to 1, the same for a seed (a 32-bit linear congruential generator). */
function generator(seed) {
  let state = (seed * 2654435761 + 12345) >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}
