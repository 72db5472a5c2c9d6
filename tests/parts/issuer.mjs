// A real OpenID provider for tests, and the keys and tokens that go with it.
//
//   node issuer.mjs keys KID            prints a new key set (private) with one RS256 key
//   node issuer.mjs sign KEYS CLAIMS    prints a token with these claims (JSON), signed with the first key of the file
//   node issuer.mjs serve PORT KEYS     serves the provider on loopback until it is killed
//
// Clients: `machine` with the secret `s3cret`, which gets tokens for itself: a JWT with the claim `tenant` if it is for
// the resource API below, else an opaque one; `introspector` with the secret `intro`, which asks about tokens; and `web`,
// with which Alice signs in. `POST /test/user-token` gives a token of hers without a browser, which the provider accepts
// at its UserInfo endpoint: an opaque one, or, with `?format=jwt`, one that is a JWT signed with the provider's key.

import { createPrivateKey, generateKeyPairSync, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';

const API = 'https://talker-api.example';

const [command, ...args] = process.argv.slice(2);
const commands = { keys, sign: token, serve };
if (!commands[command]) {
  console.error(`usage: issuer.mjs ${Object.keys(commands).join('|')} …`);
  process.exit(2);
}
await commands[command](...args);

function keys(kid) {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const key = { ...privateKey.export({ format: 'jwk' }), kid, alg: 'RS256', use: 'sig' };
  console.log(JSON.stringify({ keys: [key] }));
}

function token(file, claims) {
  console.log(signed(JSON.parse(readFileSync(file, 'utf8')), JSON.parse(claims)));
}

function signed({ keys: [key] }, claims) {
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const input = `${encode({ alg: 'RS256', typ: 'at+jwt', kid: key.kid })}.${encode(claims)}`;
  const signature = sign('sha256', Buffer.from(input), createPrivateKey({ key, format: 'jwk' }));
  return `${input}.${signature.toString('base64url')}`;
}

async function serve(port, file) {
  // By path, because the packages are installed outside of this folder.
  const packages = new URL('../../.parts/node_modules/', import.meta.url);
  const { Provider } = await import(new URL('oidc-provider/lib/index.js', packages));
  const issuer = `http://127.0.0.1:${port}`;
  const jwks = JSON.parse(readFileSync(file, 'utf8'));
  const forItself = { grant_types: ['client_credentials'], redirect_uris: [], response_types: [] };
  const provider = new Provider(issuer, {
    jwks,
    clients: [
      { client_id: 'machine', client_secret: 's3cret', ...forItself },
      { client_id: 'introspector', client_secret: 'intro', ...forItself },
      { client_id: 'web', client_secret: 'web', redirect_uris: ['https://app.example/callback'] },
    ],
    scopes: ['openid', 'email', 'read'],
    claims: { openid: ['sub'], email: ['email'] },
    findAccount: (_, accountId) => ({ accountId, claims: () => ({ sub: accountId, email: `${accountId}@pets.example` }) }),
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      introspection: { enabled: true, allowedPolicy: () => true },
      revocation: { enabled: true, allowedPolicy: () => true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => undefined,
        useGrantedResource: () => true,
        getResourceServerInfo: (_, resource) => ({
          scope: 'read',
          audience: resource,
          accessTokenTTL: 300,
          accessTokenFormat: resource === API ? 'jwt' : 'opaque',
          jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
    extraTokenClaims: (_, { kind }) => (kind === 'ClientCredentials' ? { tenant: 'blue' } : undefined),
  });
  provider.use(async (context, next) => {
    if (context.path !== '/test/user-token') return next();
    const client = await provider.Client.find('web');
    const grant = new provider.Grant({ accountId: 'alice', clientId: 'web' });
    grant.addOIDCScope('openid email');
    const seconds = Math.floor(Date.now() / 1000);
    const claims = { iss: issuer, sub: 'alice', exp: seconds + 300, jti: `${process.hrtime.bigint()}` };
    const token = new provider.AccessToken({
      accountId: 'alice',
      client,
      grantId: await grant.save(),
      gty: 'authorization_code',
      scope: 'openid email',
      claims: {},
    });
    if (context.query.format === 'jwt') {
      // An opaque token is its own identifier, so a JWT can be one.
      Object.assign(token, { format: 'opaque', jti: signed(jwks, claims) });
    }
    context.body = { access_token: await token.save(), token_type: 'Bearer' };
  });
  const server = provider.listen(Number(port), '127.0.0.1');
  server.on('error', ({ code }) => {
    console.error(code);
    process.exit(1);
  });
}
