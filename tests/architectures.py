#!/usr/bin/env python3
"""Tiny models of each family with random weights, and what their own libraries make of some inputs.

tests/architectures.py FOLDER [SEED] writes a folder a model in Hugging Face layout, with expected.json: texts and
text_vectors, images (files of the folder) and image_vectors. Each text and each image is run alone, without padding.
Needs torch, transformers 5, tokenizers, safetensors, numpy, Pillow, and model2vec for the static models.
tests/data/architectures/ has what it writes for the seed 0.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

WORDS = "a the cat dog sea boat red blue sky sleeps runs under over on mat photo of and 1 2".split()
TEXTS = [
    "a cat sleeps on the mat",
    "sea",
    "the red boat and the blue boat on the sea under the sky over the sea",
    "a photo of a dog , zebra",
    "",
]
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else 0
SIZE, PATCH = 16, 8
SMALL = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
SECTION = {**SMALL, "hidden_act": "gelu"}
VISION = {**SECTION, "image_size": SIZE, "patch_size": PATCH}


def tokenizer(first, last, pad, unknown):
    """A tokenizer of words. Special tokens have the ids given: (token, id); first and last can be None."""
    special = [token for token in (first, last, pad, unknown) if token]
    vocabulary = {token: index for token, index in special}
    free = (index for index in range(100) if index not in vocabulary.values())
    for word in WORDS:
        vocabulary[word] = next(free)
    made = Tokenizer(models.WordLevel(vocabulary, unk_token=unknown[0]))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.add_special_tokens([token for token, _ in special])
    if first or last:
        single = " ".join(part for part in (first and first[0], "$A", last and last[0]) if part)
        made.post_processor = processors.TemplateProcessing(single=single, special_tokens=special)
    return made


def randomise(model):
    """Weights large enough that each of them is seen in the vectors."""
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator)
            one_around = parameter.dim() == 1 and name.endswith("weight")
            parameter.copy_(1 + 0.2 * noise if one_around else 0.4 * noise)
    return model.eval()


def images():
    generator = np.random.default_rng(SEED)
    for number in range(3):
        yield f"{number}.png", Image.fromarray(generator.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8))


def write_text(folder, made, pad, max_length):
    made.save(str(folder / "tokenizer.json"))
    description = {"pad_token": pad, "model_max_length": max_length}
    (folder / "tokenizer_config.json").write_text(json.dumps(description) + "\n")


def write_images(folder):
    description = {
        "do_resize": True,
        "size": {"height": SIZE, "width": SIZE},
        "resample": 3,
        "do_center_crop": False,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.4, 0.3],
        "image_std": [0.3, 0.4, 0.5],
        "do_convert_rgb": True,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(description, indent=2) + "\n")
    mean, std = (torch.tensor(description[key]).view(3, 1, 1) for key in ("image_mean", "image_std"))
    tensors = []
    for name, image in images():
        image.save(folder / name)
        pixels = torch.tensor(np.asarray(image)).permute(2, 0, 1) / 255
        tensors.append(((pixels - mean) / std)[None])
    return tensors


def rounded(vectors):
    return [[round(float(number), 6) for number in vector.flatten()] for vector in vectors]


def expect(folder, text_vectors=None, image_vectors=None):
    expected = {}
    if text_vectors is not None:
        expected |= {"texts": TEXTS, "text_vectors": rounded(text_vectors)}
    if image_vectors is not None:
        expected |= {"images": [name for name, _ in images()], "image_vectors": rounded(image_vectors)}
    lines = json.dumps(expected).replace("], ", "],\n").replace(', "', ',\n"')
    (folder / "expected.json").write_text(lines + "\n")


BERT = (("[CLS]", 3), ("[SEP]", 4), ("[PAD]", 0), ("[UNK]", 1))
ROBERTA = (("<s>", 0), ("</s>", 2), ("<pad>", 1), ("<unk>", 3))
CLIP = (("<|startoftext|>", 22), ("<|endoftext|>", 23), None, ("<unk>", 0))
SIGLIP = (None, ("</s>", 1), None, ("<unk>", 2))


def save(model, folder, dtype=None):
    model.save_pretrained(folder)
    if dtype:
        tensors = load_file(folder / "model.safetensors")
        save_file({k: v.to(dtype) for k, v in tensors.items()}, folder / "model.safetensors", {"format": "pt"})


def encoder(folder, kind, config, tokens, dtype=None, **options):
    """A text model whose vector is the mean of its tokens'. Its weights are rounded to the type before it runs."""
    made = tokenizer(*tokens)
    pad = tokens[2]
    config = kind.config_class(vocab_size=made.get_vocab_size(), pad_token_id=pad[1], **config)
    model = randomise(kind(config, **options))
    if dtype:
        model = model.to(dtype).float()
    save(model, folder, dtype)
    write_text(folder, made, pad[0], 30)
    vectors = []
    with torch.no_grad():
        for text in TEXTS:
            ids = torch.tensor([made.encode(text).ids])
            vectors.append(model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state.mean(1))
    expect(folder, vectors)
    return model


def bert(folder):
    encoder(folder, transformers.BertModel, {**SMALL, "max_position_embeddings": 32}, BERT, add_pooling_layer=False)


def bert_f16(folder):
    """Half precision, in two files, under the prefix of a model with a head, with another activation."""
    config = {**SMALL, "max_position_embeddings": 32, "hidden_act": "gelu_new"}
    model = encoder(folder, transformers.BertModel, config, BERT, torch.float16)
    tensors = {f"bert.{name}": value.half() for name, value in model.state_dict().items()}
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    files = {"model-00001-of-00002.safetensors": names[:20], "model-00002-of-00002.safetensors": names[20:]}
    for file, of_file in files.items():
        save_file({name: tensors[name].contiguous() for name in of_file}, folder / file)
    index = {"metadata": {}, "weight_map": {name: file for file, of_file in files.items() for name in of_file}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")


def roberta(folder):
    config = {**SMALL, "max_position_embeddings": 34, "type_vocab_size": 1}
    encoder(folder, transformers.RobertaModel, config, ROBERTA, add_pooling_layer=False)


def xlm_roberta_bf16(folder):
    config = {**SMALL, "max_position_embeddings": 34, "type_vocab_size": 1}
    encoder(folder, transformers.XLMRobertaModel, config, ROBERTA, torch.bfloat16, add_pooling_layer=False)


def mpnet(folder):
    config = {**SMALL, "max_position_embeddings": 34}
    encoder(folder, transformers.MPNetModel, config, ROBERTA, add_pooling_layer=False)


def distilbert(folder):
    config = {"dim": 16, "hidden_dim": 24, "n_layers": 2, "n_heads": 2, "max_position_embeddings": 32}
    encoder(folder, transformers.DistilBertModel, config, BERT)


def nomic_bert(folder):
    """As the library writes it."""
    config = {**SMALL, "max_position_embeddings": 32, "num_attention_heads": 4}
    encoder(folder, transformers.NomicBertModel, config, BERT)


def nomic_bert_hub(folder):
    """As nomic-ai's files on the hub are: other keys in config.json, query, key and value in one tensor."""
    model = encoder(folder, transformers.NomicBertModel, {**SMALL, "max_position_embeddings": 32}, BERT)
    config = {
        "model_type": "nomic_bert",
        "architectures": ["NomicBertModel"],
        "activation_function": "swiglu",
        "layer_norm_epsilon": 1e-12,
        "mlp_fc1_bias": False,
        "mlp_fc2_bias": False,
        "n_embd": 16,
        "n_head": 2,
        "n_inner": 24,
        "n_layer": 2,
        "n_positions": 32,
        "prenorm": False,
        "qkv_proj_bias": False,
        "rotary_emb_base": 1000,
        "rotary_emb_fraction": 1.0,
        "rotary_emb_interleaved": False,
        "rotary_emb_scale_base": None,
        "type_vocab_size": 2,
        "use_rms_norm": False,
        "vocab_size": model.config.vocab_size,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    own = model.state_dict()
    made = {}
    renamed = {
        "self_attn.o_proj": "attn.out_proj",
        "mlp.up_proj": "mlp.fc11",
        "mlp.gate_proj": "mlp.fc12",
        "mlp.down_proj": "mlp.fc2",
        "post_attention_layernorm": "norm1",
        "post_mlp_layernorm": "norm2",
        "embeddings.LayerNorm": "emb_ln",
    }
    for name, value in own.items():
        if "self_attn.q_proj" in name:
            parts = [own[name.replace("q_proj", part)] for part in ("q_proj", "k_proj", "v_proj")]
            made["encoder." + name.replace("self_attn.q_proj", "attn.Wqkv")] = torch.cat(parts)
        elif "k_proj" not in name and "v_proj" not in name:
            for old, new in renamed.items():
                name = name.replace(old, new)
            made["encoder." + name if name.startswith("layers") else name] = value.contiguous()
    save_file(made, folder / "model.safetensors", {"format": "pt"})


def modernbert(folder):
    config = {
        **SMALL,
        "num_hidden_layers": 4,
        "max_position_embeddings": 32,
        "local_attention": 4,
        "bos_token_id": 3,
        "cls_token_id": 3,
        "eos_token_id": 4,
        "sep_token_id": 4,
    }
    encoder(folder, transformers.ModernBertModel, config, BERT)


def towers(folder, model, tokens, pad, max_length, pad_to=None):
    """Both towers of a model, and the vectors of its texts and images."""
    # the other implementation skips AIMv2's causal mask where no text is padded
    model.set_attn_implementation("eager")
    randomise(model)
    save(model, folder)
    made = tokenizer(*tokens)
    write_text(folder, made, pad[0], max_length)
    pixels = write_images(folder)
    texts = []
    with torch.no_grad():
        for text in TEXTS:
            ids = made.encode(text).ids[:max_length]
            if pad_to:
                ids = torch.tensor([ids + [pad[1]] * (pad_to - len(ids))])
                texts.append(model.get_text_features(input_ids=ids).pooler_output)
            else:
                ids = torch.tensor([ids])
                mask = torch.ones_like(ids)
                texts.append(model.get_text_features(input_ids=ids, attention_mask=mask).pooler_output)
        images = [model.get_image_features(pixel_values=image).pooler_output for image in pixels]
    expect(folder, texts, images)
    return model


def clip(folder):
    text = {**SECTION, "vocab_size": 25, "max_position_embeddings": 24, "eos_token_id": 23, "bos_token_id": 22}
    config = transformers.CLIPConfig(
        text_config={**text, "hidden_act": "quick_gelu", "projection_dim": 12},
        vision_config={**VISION, "hidden_size": 24, "hidden_act": "quick_gelu", "projection_dim": 12},
        projection_dim=12,
    )
    towers(folder, transformers.CLIPModel(config), CLIP, CLIP[1], 24)


def siglip(folder):
    text = {**SECTION, "vocab_size": 25, "max_position_embeddings": 20, "hidden_act": "gelu_pytorch_tanh"}
    config = transformers.SiglipConfig(
        text_config=text,
        vision_config={**VISION, "hidden_act": "gelu_pytorch_tanh"},
    )
    towers(folder, transformers.SiglipModel(config), SIGLIP, SIGLIP[1], 20, pad_to=20)


def aimv2_config():
    text = {**SECTION, "vocab_size": 25, "max_position_embeddings": 24, "eos_token_id": 23, "hidden_act": "silu"}
    return transformers.Aimv2Config(
        text_config=text,
        vision_config={**VISION, "hidden_size": 24, "hidden_act": "silu"},
        projection_dim=12,
    )


def aimv2(folder):
    """As the library writes it."""
    towers(folder, transformers.Aimv2Model(aimv2_config()), CLIP, CLIP[1], 24)


def aimv2_authors(folder):
    """As the authors' own file is: other names, query, key and value in one tensor."""
    model = towers(folder, transformers.Aimv2Model(aimv2_config()), CLIP, CLIP[1], 24)
    own, made = model.state_dict(), {}
    renamed = {
        "text_model.embeddings.token_embedding.weight": "text_encoder.preprocessor.text_embedding.weight",
        "text_model.embeddings.position_embedding.weight": "text_encoder.preprocessor.positional_embedding",
        "vision_model.embeddings.position_embedding.weight": "image_encoder.preprocessor.pos_embed",
        "vision_model.embeddings.patch_embed": "image_encoder.preprocessor.patchifier.proj",
        "vision_model.embeddings.rms_norm": "image_encoder.preprocessor.patchifier.norm",
        "vision_model.head.k_proj": "image_encoder.head.k",
        "vision_model.head.v_proj": "image_encoder.head.v",
        "vision_model.head.output_proj": "image_encoder.head.linear",
        "text_model.rms_norm": "text_encoder.trunk.post_trunk_norm",
        "vision_model.rms_norm": "image_encoder.trunk.post_trunk_norm",
        "encoder.layers": "trunk.blocks",
        "attention.out_proj": "attn.proj",
        "attention.q_proj": "attn.qkv",
        "ffn.gate_proj": "mlp.fc1",
        "ffn.up_proj": "mlp.fc3",
        "ffn.down_proj": "mlp.fc2",
        "rms_norm1": "norm_1",
        "rms_norm2": "norm_2",
        "visual_projection": "image_projector",
        "text_projection": "text_projector",
        "text_model": "text_encoder",
        "vision_model": "image_encoder",
        "logit_scale": "log_logit_scale",
    }
    for name, value in own.items():
        if "attention.q_proj" in name:
            value = torch.cat([own[name.replace("q_proj", part)] for part in ("q_proj", "k_proj", "v_proj")])
        elif "attention.k_proj" in name or "attention.v_proj" in name:
            continue
        for old, new in renamed.items():
            name = name.replace(old, new)
        made[name] = value[None].contiguous() if name.endswith("pos_embed") else value.contiguous()
    save_file(made, folder / "model.safetensors", {"format": "pt"})


def vit(folder):
    """With the pooler of masked image modelling."""
    model = randomise(transformers.ViTModel(transformers.ViTConfig(**VISION)))
    save(model, folder)
    with torch.no_grad():
        vectors = [model(pixel_values=image).pooler_output for image in write_images(folder)]
    expect(folder, image_vectors=vectors)


def vit_classifier(folder):
    """A classifier has no pooler: the vector is that of the first token."""
    config = transformers.ViTConfig(**VISION, num_labels=3)
    model = randomise(transformers.ViTForImageClassification(config))
    save(model, folder)
    with torch.no_grad():
        vectors = [model.vit(pixel_values=image).last_hidden_state[:, 0] for image in write_images(folder)]
    expect(folder, image_vectors=vectors)


def static(folder, **options):
    from model2vec import StaticModel

    made = tokenizer(*BERT)
    generator = np.random.default_rng(SEED)
    rows = options.pop("rows", made.get_vocab_size())
    vectors = generator.standard_normal((rows, 16)).astype(options.pop("dtype", np.float32))
    if rows != made.get_vocab_size():
        options["token_mapping"] = generator.integers(0, rows, made.get_vocab_size())
        options["weights"] = generator.random(made.get_vocab_size())
    config = {"model_type": "model2vec", "architectures": ["StaticModel"], "hidden_dim": 16}
    StaticModel(vectors, made, config, **options).save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    write_text(folder, made, "[PAD]", 512)
    # in 32-bit floats: the library rounds to the type of the table
    expect(folder, StaticModel(vectors.astype(np.float32), made, config, **options).encode(TEXTS))


def static_plain(folder):
    static(folder, normalize=False, dtype=np.float16)


def static_mapped(folder):
    """Fewer rows than tokens, a weight a token, of length 1."""
    static(folder, normalize=True, rows=9)


FAMILIES = [
    bert,
    bert_f16,
    roberta,
    xlm_roberta_bf16,
    mpnet,
    distilbert,
    nomic_bert,
    nomic_bert_hub,
    modernbert,
    clip,
    siglip,
    aimv2,
    aimv2_authors,
    vit,
    vit_classifier,
    static_plain,
    static_mapped,
]


def main(folder):
    torch.set_num_threads(1)
    for family in FAMILIES:
        path = Path(folder) / family.__name__.replace("_", "-")
        path.mkdir(parents=True, exist_ok=True)
        family(path)


if __name__ == "__main__":
    main(sys.argv[1])
