// A real OpenID provider for tests, and the keys and tokens that go with it.
//
//   node issuer.mjs keys KID            prints a new key set (private) with one RS256 key
//   node issuer.mjs sign KEYS CLAIMS    prints a token with these claims (JSON), signed with the first key of the file
//   node issuer.mjs serve PORT KEYS     serves the provider on loopback until it is killed
//
// Client: `machine` with the secret `s3cret`. A token for the resource API below is a JWT with the claim `tenant`; one
// for no resource is opaque.

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
  const [key] = JSON.parse(readFileSync(file, 'utf8')).keys;
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const signed = `${encode({ alg: 'RS256', typ: 'at+jwt', kid: key.kid })}.${encode(JSON.parse(claims))}`;
  const signature = sign('sha256', Buffer.from(signed), createPrivateKey({ key, format: 'jwk' }));
  console.log(`${signed}.${signature.toString('base64url')}`);
}

async function serve(port, file) {
  // By path, because the packages are installed outside of this folder.
  const packages = new URL('../../.parts/node_modules/', import.meta.url);
  const { Provider } = await import(new URL('oidc-provider/lib/index.js', packages));
  const provider = new Provider(`http://127.0.0.1:${port}`, {
    jwks: JSON.parse(readFileSync(file, 'utf8')),
    clients: [
      {
        client_id: 'machine',
        client_secret: 's3cret',
        grant_types: ['client_credentials'],
        redirect_uris: [],
        response_types: [],
      },
    ],
    scopes: ['openid', 'read'],
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
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
  const server = provider.listen(Number(port), '127.0.0.1');
  server.on('error', ({ code }) => {
    console.error(code);
    process.exit(1);
  });
}
