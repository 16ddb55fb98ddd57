"""Makes tokens as websockify's users do, with jwcrypto: a JSON document with key and token of each kind."""

import json
import sys
import time

from jwcrypto import jwk, jwt

CLAIMS = json.loads(sys.argv[1])
NOW = int(time.time())


def pem(key, private):
    return key.export_to_pem(private_key=private, password=None).decode()


def signed(key, alg, **more):
    token = jwt.JWT(header={"alg": alg}, claims={**CLAIMS, **more})
    token.make_signed_token(key)
    return token.serialize()


def nested(key, alg, enc, sign):
    token = jwt.JWT(header={"alg": alg, "enc": enc}, claims=signed(key, sign))
    token.make_encrypted_token(key)
    return token.serialize()


def octets(bits):
    key = jwk.JWK.generate(kty="oct", size=bits)
    return key, key.export(as_dict=True)["k"]


rsa = jwk.JWK.generate(kty="RSA", size=2048)
other = jwk.JWK.generate(kty="RSA", size=2048)
p256 = jwk.JWK.generate(kty="EC", crv="P-256")
p384 = jwk.JWK.generate(kty="EC", crv="P-384")
ed = jwk.JWK.generate(kty="OKP", crv="Ed25519")
k256, k256_text = octets(256)
k384, k384_text = octets(384)
k512, k512_text = octets(512)
public, private = pem(rsa, False), pem(rsa, True)

good = {
    "RS256": (public, signed(rsa, "RS256")),
    "RS512 with the private half": (private, signed(rsa, "RS512")),
    "PS384": (public, signed(rsa, "PS384")),
    "ES256": (pem(p256, False), signed(p256, "ES256")),
    "ES384": (pem(p384, False), signed(p384, "ES384")),
    "EdDSA": (pem(ed, False), signed(ed, "EdDSA")),
    "HS256": (k256_text, signed(k256, "HS256")),
    "HS512": (k512_text, signed(k512, "HS512")),
    "with times": (public, signed(rsa, "RS256", nbf=NOW - 10, exp=NOW + 3600)),
    "RSA-OAEP, A256CBC-HS512": (private, nested(rsa, "RSA-OAEP", "A256CBC-HS512", "RS256")),
    "RSA-OAEP-256, A256GCM": (private, nested(rsa, "RSA-OAEP-256", "A256GCM", "PS256")),
    "dir, A256GCM": (k256_text, nested(k256, "dir", "A256GCM", "HS256")),
    "dir, A128CBC-HS256": (k256_text, nested(k256, "dir", "A128CBC-HS256", "HS256")),
    "dir, A192CBC-HS384": (k384_text, nested(k384, "dir", "A192CBC-HS384", "HS256")),
    "A256KW, A128GCM": (k256_text, nested(k256, "A256KW", "A128GCM", "HS256")),
    "A256KW, A192GCM": (k256_text, nested(k256, "A256KW", "A192GCM", "HS256")),
    "dir, A256CBC-HS512": (k512_text, nested(k512, "dir", "A256CBC-HS512", "HS512")),
}
bad = {
    "another's signature": (public, signed(other, "RS256")),
    "another's encryption": (pem(other, True), nested(rsa, "RSA-OAEP", "A256GCM", "RS256")),
    "another secret": (k256_text, signed(k512, "HS256")),
    "the public key as a secret": (public, signed(jwk.JWK(kty="oct", k=jwk.base64url_encode(public)), "HS256")),
    "too old": (public, signed(rsa, "RS256", exp=NOW - 10)),
    "too early": (public, signed(rsa, "RS256", nbf=NOW + 30)),
    "changed": (public, signed(rsa, "RS256")[:-4] + "AAAA"),
}
json.dump({"good": good, "bad": bad}, sys.stdout)
